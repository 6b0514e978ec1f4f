//! The campaign as a picture, laid out as the paper's figures: downtime and migration time over RATE,
//! a line for each WSET, a column for each VMSIZE.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::campaign::{Campaign, Treatment};
use crate::units::show_bytes;

/// Size of one chart, pixels.
const CHART: (u32, u32) = (460, 330);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the campaign as SVG.
///
/// # Errors
/// The drawing library's, as text.
pub fn svg(campaign: &Campaign) -> Result<String, String> {
    let mut out = String::new();
    draw(campaign, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

fn draw(campaign: &Campaign, out: &mut String) -> Drawn {
    let sizes = &campaign.design.vmsize_bytes;
    let columns = u32::try_from(sizes.len()).unwrap_or(1);
    let root = SVGBackend::with_string(out, (CHART.0 * columns, CHART.1 * 2 + 40)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!(
        "SIMULATED: {}, {} migrations a treatment",
        campaign.design.product.title(),
        campaign.design.repetitions
    );
    let areas = root.titled(&title, ("sans-serif", 20))?.split_evenly((2, sizes.len()));
    for (i, vmsize) in sizes.iter().enumerate() {
        let of_size: Vec<&Treatment> = campaign.treatments.iter().filter(|t| t.vmsize_bytes == *vmsize).collect();
        chart(campaign, &areas[i], &format!("downtime, VMSIZE {}", show_bytes(*vmsize)), &of_size, |t| &t.downtime_s)?;
        let name = format!("migration time, VMSIZE {}", show_bytes(*vmsize));
        chart(campaign, &areas[sizes.len() + i], &name, &of_size, |t| &t.migration_s)?;
    }
    root.present()?;
    Ok(())
}

fn mean(of: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64)
}

fn chart(
    campaign: &Campaign,
    area: &Area<'_>,
    caption: &str,
    treatments: &[&Treatment],
    value: fn(&Treatment) -> &Vec<f64>,
) -> Drawn {
    // The same axis in every column, so that sizes can be compared by eye; the room above is the legend's.
    let top = campaign.treatments.iter().filter_map(|t| mean(value(t))).fold(0.0, f64::max);
    let right = campaign.design.rate_pages_per_s.iter().max().copied().unwrap_or(0) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(38)
        .y_label_area_size(46)
        .build_cartesian_2d(0.0..right.max(1.0), 0.0..(top * 1.35).max(f64::MIN_POSITIVE))?;
    chart
        .configure_mesh()
        .x_desc("RATE, 1,000 pages/s")
        .x_label_formatter(&|x| format!("{}", x / 1e3))
        .y_desc("s")
        .light_line_style(WHITE)
        .draw()?;
    let wsets = &campaign.design.wset_bytes;
    for (i, wset) in wsets.iter().enumerate() {
        let share = i as f64 / (wsets.len().max(2) - 1) as f64;
        // From pale to dark, so that the order is told without hue as well.
        let colour = HSLColor(0.58 + 0.12 * share, 0.75, 0.78 - 0.55 * share);
        let points = treatments
            .iter()
            .filter(|t| t.wset_bytes == *wset)
            .filter_map(|t| Some((t.rate_pages_per_s as f64, mean(value(t))?)));
        let line = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        // The first, the middle and the last WSET are named: the others lie between them in order.
        if i == 0 || i == wsets.len() / 2 || i + 1 == wsets.len() {
            line.label(format!("WSET {}", show_bytes(*wset)))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::experiment::{campaign, paper};
    use crate::model::Product;

    #[test]
    fn a_campaign_becomes_a_picture_that_says_what_it_is() {
        let mut design = paper::design(Product::Xen34);
        design.repetitions = 1;
        design.vmsize_bytes.truncate(2);
        design.wset_bytes = vec![0, 100 << 20, 200 << 20];
        design.rate_pages_per_s = vec![0, 20_000, 60_000];
        let mut setup = paper::setup(Product::Xen34);
        setup.ping = Duration::from_millis(50);
        let picture = svg(&campaign::run(&design, &setup, 1).unwrap()).unwrap();
        assert!(picture.contains("SIMULATED: ") && picture.contains("VMSIZE 4.0 GiB"), "{picture}");
        assert_eq!(picture.matches("WSET 200.0 MiB").count(), 4, "a legend in each of four charts");
    }
}
