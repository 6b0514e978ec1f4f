//! `blackout campaign`: the paper's full factorial experiment on the model.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;

use super::exit::EXIT_OK;
use crate::experiment::campaign::{self, Campaign};
use crate::experiment::paper;
use crate::experiment::plot;
use crate::files;
use crate::model::explain::constants;
use crate::model::{Known, Product};
use crate::units::show_count;

/// Runs the paper's full factorial experiment (VMSIZE x WSET x RATE) on the model, in seconds.
///
/// Everything it prints is SIMULATED. For Xen 3.4 and VMware ESX 4.0 the paper's Table II stands
/// beside it, and what was tuned to it is named: means and ratios of means are near it by construction.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Whose rules.
    #[arg(long, default_value = "xen-3.4", value_parser = PossibleValuesParser::new(Product::ALL.map(Product::name)))]
    pub hypervisor: String,
    /// Migrations a treatment.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repetitions: u32,
    /// Seed of what differs between repetitions.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Writes a line for each treatment: levels, means, standard deviations.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Draws downtime and migration time over RATE, a line for each WSET (SVG).
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Replaces the files of --csv and --plot, if there are any.
    #[arg(long)]
    pub force: bool,
}

/// Runs `blackout campaign`.
///
/// # Errors
/// When a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let product = Product::named(&args.hypervisor).context("no such hypervisor")?;
    let mut design = paper::design(product);
    design.repetitions = args.repetitions;
    // Before anything is computed: what is not to be replaced is refused at once.
    for path in args.csv.iter().chain(&args.plot) {
        drop(files::Output::create(path, args.force, &[])?);
    }
    let began = Instant::now();
    let campaign = campaign::run(&design, &paper::setup(product), args.seed)?;
    let took = began.elapsed();
    if let Some(path) = &args.csv {
        files::write(path, csv(&campaign).as_bytes(), args.force, &[])?;
    }
    if let Some(path) = &args.plot {
        let picture = plot::svg(&campaign).map_err(anyhow::Error::msg).context("cannot draw the campaign")?;
        files::write(path, picture.as_bytes(), args.force, &[])?;
    }
    let mut text = format!(
        "SIMULATED: {}, {} treatments x {} = {} migrations in {:.1} s, seed {}\n\n",
        product.title(),
        campaign.treatments.len(),
        design.repetitions,
        show_count(campaign.migrations()),
        took.as_secs_f64(),
        args.seed
    );
    let sum = |of: fn(&campaign::Treatment) -> u32| campaign.treatments.iter().map(of).sum::<u32>();
    let endless = format!("did not end within {} s", show_count(campaign::HORIZON.as_secs()));
    let missing = [(sum(|t| t.endless), endless.as_str()), (sum(|t| t.cancelled), "were given up")];
    for (n, how) in missing.into_iter().filter(|(n, _)| *n > 0) {
        let _ = writeln!(text, "{} of them {how}; they are in no figure below.\n", show_count(u64::from(n)));
    }
    text.push_str(&beside_table_2(&campaign));
    super::say::print(&text)?;
    Ok(ExitCode::from(EXIT_OK))
}

/// The model's variability, and the paper's beside it.
fn beside_table_2(campaign: &Campaign) -> String {
    let mut out = String::new();
    let product = campaign.design.product;
    let Some((time, down)) = campaign.variability() else { return "Nothing ended.\n".into() };
    let _ = writeln!(out, "{:26}{:>10}{:>12}{:>12}{:>12}{:>12}", "", "mean", "max:min", "max:min", "SD max in", "SD");
    let _ = writeln!(
        out,
        "{:26}{:>10}{:>12}{:>12}{:>12}{:>12}",
        "", "s", "of means", "overall", "treatment s", "overall s"
    );
    let mut line = |name: &str, cells: [String; 5]| {
        let [mean, means, overall, treatment, sd] = cells;
        let _ = writeln!(out, "{name:26}{mean:>10}{means:>12}{overall:>12}{treatment:>12}{sd:>12}");
    };
    let (time_2, down_2) = paper::table_2(product).unzip();
    for (name, model, published) in [("migration time, model", &time, time_2), ("downtime, model", &down, down_2)] {
        line(name, model.cells());
        if let Some(published) = published {
            line("  paper, Table II", published.cells());
            line("  the model is off by", model.deviation(&published));
        }
    }
    out.push('\n');
    out.push_str(&inputs(product));
    out
}

/// All that went in: first what was tuned to what stands above, then what the paper does not say, then
/// the rule with its sources.
fn inputs(product: Product) -> String {
    let chosen = paper::chosen(product).into_iter().map(|c| (c.what, c.value, c.known, c.why));
    let rule = constants(product).into_iter().map(|c| (c.name, c.value, c.known, c.from));
    let (tuned, other): (Vec<_>, Vec<_>) = chosen.chain(rule).partition(|(_, _, known, _)| *known == Known::Calibrated);
    let mut out = String::new();
    if !tuned.is_empty() {
        out.push_str("Tuned to Table II, so that means and ratios of means are near it by construction:\n");
        for (what, value, ..) in tuned {
            let _ = writeln!(out, "  {what}: {value}");
        }
    }
    out.push_str("Not tuned, each as it is known:\n");
    for (what, value, known, why) in other {
        let _ = writeln!(out, "  {what}: {value} ({}: {why})", known.word());
    }
    let _ = writeln!(out, "The rule in words: blackout demo --hypervisor {} --explain", product.name());
    out
}

fn csv(campaign: &Campaign) -> String {
    let mut out = String::from(
        "simulated,hypervisor,vmsize_bytes,wset_bytes,rate_pages_per_s,n,migration_mean_s,migration_sd_s,downtime_mean_s,downtime_sd_s,endless,cancelled\n",
    );
    use crate::analysis::stats::Summary;
    let cell = |v: Option<f64>| v.map_or_else(String::new, |v| format!("{v:.4}"));
    for t in &campaign.treatments {
        let (time, down) = (Summary::of(&t.migration_s), Summary::of(&t.downtime_s));
        let _ = writeln!(
            out,
            "SIMULATED,{},{},{},{},{},{},{},{},{},{},{}",
            campaign.design.product.name(),
            t.vmsize_bytes,
            t.wset_bytes,
            t.rate_pages_per_s,
            t.migration_s.len(),
            cell(time.map(|s| s.mean)),
            cell(time.and_then(|s| s.sd)),
            cell(down.map(|s| s.mean)),
            cell(down.and_then(|s| s.sd)),
            t.endless,
            t.cancelled
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(product: Product, repetitions: u32) -> Campaign {
        let mut design = paper::design(product);
        design.repetitions = repetitions;
        design.vmsize_bytes = vec![1 << 30];
        design.wset_bytes.truncate(2);
        design.rate_pages_per_s = vec![0, 20_000];
        campaign::run(&design, &paper::setup(product), 1).unwrap()
    }

    #[test]
    fn it_says_what_was_tuned_and_lists_the_fixed_times() {
        for product in [Product::Xen34, Product::Vmware40] {
            let text = beside_table_2(&small(product, 2));
            let (tuned, other) = text.split_once("Not tuned").unwrap();
            assert!(tuned.contains("by construction") && tuned.contains("levels of WSET"), "{text}");
            for fixed in
                ["set-up: ", "stopping the guest: ", "setting up the destination: ", "until the source can go: "]
            {
                assert!(tuned.contains(fixed), "{fixed}{text}");
            }
            assert!(other.contains("spread of the bandwidth") && other.contains("ASSUMED"), "{text}");
            assert!(text.contains(&format!("demo --hypervisor {} --explain", product.name())));
        }
        let text = beside_table_2(&small(Product::Xen46, 2));
        assert!(!text.contains("Tuned") && !text.contains("Table II\n"), "the paper did not measure it: {text}");
    }

    #[test]
    fn what_is_unknown_is_a_question_mark_and_no_number() {
        let campaign = small(Product::Xen34, 1);
        let text = beside_table_2(&campaign);
        assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
        let model = text.lines().find(|l| l.starts_with("migration time, model")).unwrap();
        assert_eq!(model.split_whitespace().nth(6), Some("?"), "{model}");
        let csv = csv(&campaign);
        let (head, first) = (csv.lines().next().unwrap(), csv.lines().nth(1).unwrap());
        assert_eq!(head.split(',').count(), first.split(',').count(), "{csv}");
        assert!(head.ends_with("endless,cancelled") && first.ends_with(",0,0"), "{csv}");
    }
}
