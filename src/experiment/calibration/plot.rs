//! Predicted against measured as a picture: downtime and migration time side by side, both axes
//! logarithmic, so that a distance from the diagonal is a ratio.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::compare::Comparison;
use super::row::{Predicted, Row};
use crate::analysis::Method;
use crate::event::Span;

/// Size of one chart, pixels.
const CHART: (u32, u32) = (480, 480);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws a comparison as SVG: what was predicted before firing, or with figures fitted to all other
/// migrations. What was changed on the way is not drawn.
///
/// # Errors
/// The drawing library's, as text.
pub fn svg(comparison: &Comparison, fitted: bool) -> Result<String, String> {
    let mut out = String::new();
    draw(comparison, fitted, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

struct Point {
    predicted: Span,
    measured: f64,
    converged: bool,
}

fn draw(c: &Comparison, fitted: bool, out: &mut String) -> Drawn {
    let root = SVGBackend::with_string(out, (CHART.0 * 2, CHART.1 + 40)).into_drawing_area();
    root.fill(&WHITE)?;
    let rows: Vec<&Row> = c.rows.iter().filter(|r| r.changed.is_none() && r.converged.is_some()).collect();
    let which = if fitted {
        format!("predicted with figures fitted to the other {}", rows.len().saturating_sub(1))
    } else if rows.iter().all(|r| r.recorded) {
        "predicted before firing".to_owned()
    } else {
        "predicted from what was known before firing".to_owned()
    };
    let root = root.titled(&format!("{} migrations, {which}, against measured", rows.len()), ("sans-serif", 20))?;
    let areas = root.split_evenly((1, 2));
    let points = |predicted: fn(&Predicted) -> Option<Span>, measured: fn(&Row) -> Option<f64>| -> Vec<Point> {
        let of = |r: &Row| {
            let p = if fitted { r.fitted } else { r.before };
            Some(Point { predicted: predicted(&p?)?, measured: measured(r)?, converged: r.converged? })
        };
        rows.iter().filter_map(|r| of(r)).filter(|p| p.measured > 0.0 && p.predicted.mid > 0.0).collect()
    };
    let other = rows.iter().filter_map(|r| r.downtime_method).find(|m| *m != Method::StopResume.name());
    let method = other.map_or_else(|| "stop-resume".to_owned(), |other| format!("stop-resume, else {other}"));
    chart(&areas[0], &format!("downtime ({method}), s"), &points(|p| p.downtime_ms, |r| r.downtime_ms))?;
    chart(&areas[1], "migration time, s", &points(|p| p.migration_ms, |r| r.migration_ms))?;
    root.present()?;
    Ok(())
}

fn chart(area: &Area<'_>, caption: &str, points: &[Point]) -> Drawn {
    let all = || points.iter().flat_map(|p| [p.predicted.mid, p.measured]).map(|ms| ms / 1e3);
    let (lo, hi) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let (lo, hi) = if lo < hi { (lo * 0.6, hi * 1.6) } else { (lo.clamp(1e-3, 1e6) * 0.5, lo.clamp(1e-3, 1e6) * 2.0) };
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d((lo..hi).log_scale(), (lo..hi).log_scale())?;
    let label = |v: &f64| if *v < 1.0 { format!("{v:.2}") } else { format!("{v:.0}") };
    chart
        .configure_mesh()
        .x_desc("measured")
        .y_desc("predicted")
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(WHITE)
        .draw()?;
    chart.draw_series(LineSeries::new([(lo, lo), (hi, hi)], BLACK.mix(0.4)))?;
    let within = |v: f64| (v / 1e3).clamp(lo, hi);
    chart.draw_series(points.iter().map(|p| {
        let x = within(p.measured);
        PathElement::new([(x, within(p.predicted.lo)), (x, within(p.predicted.hi))], BLACK.mix(0.35))
    }))?;
    let place = |p: &&Point| (within(p.measured), within(p.predicted.mid));
    let (blue, red) = (RGBColor(20, 80, 160), RGBColor(180, 60, 20));
    chart
        .draw_series(points.iter().filter(|p| p.converged).map(|p| Circle::new(place(&p), 4, blue.filled())))?
        .label("converged")
        .legend(move |(x, y)| Circle::new((x + 8, y), 4, blue.filled()));
    chart
        .draw_series(points.iter().filter(|p| !p.converged).map(|p| Cross::new(place(&p), 4, red.stroke_width(2))))?
        .label("did not converge: stopped")
        .legend(move |(x, y)| Cross::new((x + 8, y), 4, red.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
