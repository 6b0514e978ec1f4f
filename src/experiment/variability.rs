//! How much migrations of one experiment differ.

/// A row of Table II.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variability {
    /// Mean of all measurements, s.
    pub mean_s: f64,
    /// Largest to smallest mean of a treatment; None where one of them is 0.
    pub ratio_of_means: Option<f64>,
    /// Largest to smallest measurement; None where one of them is 0.
    pub ratio_overall: Option<f64>,
    /// Largest standard deviation within a treatment, s; None with one migration in each.
    pub sd_treatment_s: Option<f64>,
    /// Standard deviation of all measurements, s.
    pub sd_overall_s: Option<f64>,
}

impl Variability {
    fn figures(&self) -> [Option<f64>; 5] {
        [Some(self.mean_s), self.ratio_of_means, self.ratio_overall, self.sd_treatment_s, self.sd_overall_s]
    }

    /// Its five figures as text, in the order of Table II.
    #[must_use]
    pub fn cells(&self) -> [String; 5] {
        self.figures().map(|v| v.map_or_else(|| "?".to_owned(), |v| format!("{v:.2}")))
    }

    /// How far each figure is from another's, % of that, as text.
    #[must_use]
    pub fn deviation(&self, from: &Self) -> [String; 5] {
        let (own, other) = (self.figures(), from.figures());
        std::array::from_fn(|i| match (own[i], other[i]) {
            // Adding nothing makes a zero of one below it.
            (Some(v), Some(from)) if from > 0.0 => format!("{:+.1} %", ((v / from - 1.0) * 1e3).round() / 10.0 + 0.0),
            _ => "?".to_owned(),
        })
    }
}
