//! Statistics of small samples.

/// Mean, spread and confidence of a sample. Units are those of the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Size of the sample.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); None for fewer than two values.
    pub sd: Option<f64>,
    /// Half width of the 95 % confidence interval of the mean (Student t); None for fewer than two.
    pub ci95: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Summary {
    /// Of all finite values; None if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        if finite.is_empty() {
            return None;
        }
        let n = finite.len();
        let mean = finite.iter().sum::<f64>() / n as f64;
        let sd = (n > 1).then(|| {
            let squares: f64 = finite.iter().map(|v| (v - mean).powi(2)).sum();
            (squares / (n - 1) as f64).sqrt()
        });
        Some(Self {
            n,
            mean,
            sd,
            ci95: sd.map(|sd| student_t_975(n - 1) * sd / (n as f64).sqrt()),
            min: finite.iter().copied().fold(f64::INFINITY, f64::min),
            max: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// The ratio max:min of the paper's tables; None unless both are positive.
    #[must_use]
    pub fn max_min_ratio(&self) -> Option<f64> {
        (self.min > 0.0).then(|| self.max / self.min)
    }
}

/// The `p`-th percentile (0 to 100), interpolated linearly between neighbours; None if there are
/// no finite values or `p` is out of range.
#[must_use]
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.is_empty() || !(0.0..=100.0).contains(&p) {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let at = p / 100.0 * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (above - below) * at.fract())
}

/// The 97.5 % quantile of Student's t with `df` degrees of freedom: by table to 30, beyond by the
/// expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5), good to 4 digits there.
#[must_use]
pub fn student_t_975(df: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
        2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518,
        2.0484, 2.0452, 2.0423,
    ];
    match df {
        0 => f64::INFINITY,
        1..=30 => TABLE[df - 1],
        _ => {
            let (z, v) = (1.959_964_f64, df as f64);
            let g1 = (z.powi(3) + z) / 4.0;
            let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
            z + g1 / v + g2 / v.powi(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, eps: f64) -> bool {
        (a - b).abs() <= eps
    }

    #[test]
    fn a_sample_by_hand() {
        let s = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert!(near(s.mean, 5.0, 1e-12));
        assert!(near(s.sd.unwrap(), (32.0_f64 / 7.0).sqrt(), 1e-12));
        // t(7) = 2.3646, sd / sqrt(8) = 0.75593
        assert!(near(s.ci95.unwrap(), 1.78747, 1e-4));
        assert_eq!(s.max_min_ratio(), Some(4.5));
    }

    #[test]
    fn too_little_is_unknown_not_zero() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[f64::NAN]), None);
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!((one.sd, one.ci95), (None, None));
        assert_eq!(Summary::of(&[0.0, 1.0]).unwrap().max_min_ratio(), None);
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[1.0], 101.0), None);
    }

    #[test]
    fn percentiles_interpolate() {
        let v = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&v, 0.0), Some(1.0));
        assert_eq!(percentile(&v, 50.0), Some(2.5));
        assert_eq!(percentile(&v, 100.0), Some(4.0));
    }

    #[test]
    fn student_t_meets_the_tables() {
        assert!(near(student_t_975(40), 2.0211, 1e-4));
        assert!(near(student_t_975(120), 1.9799, 1e-4));
        assert!(student_t_975(31) < student_t_975(30));
    }
}
