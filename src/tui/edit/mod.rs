//! The controls: what can be changed, by how much a key or a slider changes it, and what typed text
//! means.

mod load;
mod migration;
mod presets;
mod slider;
mod steps;

use crate::event::DirtyCycle;
use crate::load::LoadError;

pub use load::{nudge_load, show_typed, type_load};
pub use migration::{
    behind, changed, default_migration, nudge_migration, nudge_parameter, offers, parameter, parameters,
    policy_presets, show_parameter, show_policy, show_value, type_migration, type_parameter,
};
pub use presets::{Preset, presets};
pub use slider::{jump_at, set_share, set_share_holding, share_of};
pub use steps::Step;

/// Something the operator can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// LOAD.
    Load,
    /// WSET.
    Wset,
    /// RATE; holds PERIOD or BPC, as chosen.
    Rate,
    /// BPC; holds PERIOD.
    Bpc,
    /// PERIOD; holds BPC.
    Period,
    /// FILL.
    Fill,
    /// Order of the writes.
    Pattern,
    /// Bandwidth of the migration.
    Bandwidth,
    /// Downtime the hypervisor may plan for.
    DowntimeLimit,
    /// Stop policy.
    Policy,
    /// Prepare for post-copy.
    PostCopy,
    /// Throttle the guest.
    AutoConverge,
    /// A parameter the hypervisor offers beyond these, by its place among [`parameters`].
    Parameter(u16),
}

impl Control {
    /// The load's controls, in their order on the screen.
    pub const LOAD: [Self; 7] =
        [Self::Load, Self::Wset, Self::Rate, Self::Bpc, Self::Period, Self::Fill, Self::Pattern];
    /// The migration's controls, in their order on the screen; the offered parameters follow.
    pub const MIGRATION: [Self; 5] =
        [Self::Bandwidth, Self::DowntimeLimit, Self::Policy, Self::PostCopy, Self::AutoConverge];

    /// Its name on the screen. A parameter's own name is in what is offered.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Load => "LOAD",
            Self::Wset => "WSET",
            Self::Rate => "RATE",
            Self::Bpc => "BPC",
            Self::Period => "PERIOD",
            Self::Fill => "FILL",
            Self::Pattern => "pattern",
            Self::Bandwidth => "bandwidth limit",
            Self::DowntimeLimit => "downtime limit",
            Self::Policy => "stop policy",
            Self::PostCopy => "post-copy",
            Self::AutoConverge => "auto-converge",
            Self::Parameter(_) => "parameter",
        }
    }

    /// What to type for it.
    #[must_use]
    pub fn prompt(self) -> &'static str {
        match self {
            Self::Load => "busy share of each guest CPU, %: 0 to 100",
            Self::Wset => "memory held by the generator, for instance 96M",
            Self::Rate => "pages a second, for instance 9000",
            Self::Bpc => "pages each cycle, for instance 90; PERIOD is held, RATE follows",
            Self::Period => "length of a cycle, for instance 10ms; BPC is held, RATE follows",
            Self::Fill => "share of each page written, %: 0 to 100",
            Self::Pattern => "cyclic, random or hotspot",
            Self::Bandwidth => "bytes a second, for instance 32M, or none for the hypervisor's own",
            Self::DowntimeLimit => "for instance 300ms, or none for the hypervisor's own",
            Self::Policy => "xen-3.4, none, timeout=15s, or rounds=10,ram=2.5,then=post-copy",
            Self::PostCopy | Self::AutoConverge => "on or off",
            Self::Parameter(_) => "a value, or none to leave it as it is",
        }
    }

    /// Whether it belongs to the load (otherwise to the migration).
    #[must_use]
    pub fn is_load(self) -> bool {
        Self::LOAD.contains(&self)
    }

    /// Its place among the migration's controls.
    #[must_use]
    pub fn migration_row(self) -> Option<usize> {
        match self {
            Self::Parameter(i) => Some(Self::MIGRATION.len() + usize::from(i)),
            own => Self::MIGRATION.iter().position(|c| *c == own),
        }
    }

    /// The control `by` places further down the screen, round and round, where so many parameters
    /// are offered.
    #[must_use]
    pub fn moved(self, by: isize, parameters: usize) -> Self {
        let own: Vec<Self> = Self::LOAD.into_iter().chain(Self::MIGRATION).collect();
        let parameters = parameters.min(usize::from(u16::MAX));
        let at = match self {
            Self::Parameter(i) => own.len() + usize::from(i),
            other => own.iter().position(|c| *c == other).unwrap_or(0),
        };
        // A parameter may be gone since it was selected: then the last one there is counts.
        let at = at.min(own.len() + parameters - 1);
        let to = (at as isize).saturating_add(by).rem_euclid((own.len() + parameters) as isize) as usize;
        own.get(to).copied().unwrap_or_else(|| Self::Parameter((to - own.len()) as u16))
    }
}

/// What is held when RATE changes; the other follows. A change of BPC or PERIOD holds the other of
/// the two and changes RATE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hold {
    /// PERIOD is held, BPC follows.
    #[default]
    Period,
    /// BPC is held, PERIOD follows.
    Bpc,
}

impl Hold {
    /// The other choice.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Period => Self::Bpc,
            Self::Bpc => Self::Period,
        }
    }

    /// A cycle with another RATE, pages/s.
    ///
    /// # Errors
    /// When the RATE is out of range, or makes a PERIOD that is.
    pub fn with_rate(self, cycle: DirtyCycle, rate_pages_per_s: f64) -> Result<DirtyCycle, LoadError> {
        match self {
            Self::Period => cycle.with_rate(rate_pages_per_s),
            Self::Bpc => cycle.with_rate_at_bpc(rate_pages_per_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LoadSettings, MigrationSettings, Parameter};

    fn load() -> LoadSettings {
        LoadSettings { dirty: DirtyCycle { bpc_pages: 90, period_ns: 10_000_000 }, ..LoadSettings::default() }
    }

    #[test]
    fn rate_walks_in_round_numbers_and_back() {
        let mut l = load();
        let mut seen = Vec::new();
        let step = |l: &LoadSettings, up, step| nudge_load(l, Control::Rate, up, step, None, Hold::Period);
        for _ in 0..3 {
            l = step(&l, true, Step::Coarse);
            seen.push(l.dirty.rate_pages_per_s().round());
        }
        assert_eq!(seen, [10_000.0, 20_000.0, 30_000.0]);
        for _ in 0..4 {
            l = step(&l, false, Step::Coarse);
        }
        assert_eq!(l.dirty.rate_pages_per_s().round(), 8000.0);
        l = step(&l, true, Step::Fine);
        assert_eq!(l.dirty.rate_pages_per_s().round(), 8100.0);
    }

    #[test]
    fn what_is_held_stays_and_the_third_follows() {
        let to = |text, control, hold| type_load(&load(), control, text, None, hold).unwrap().dirty;
        let cycle = |bpc_pages, ms: u64| DirtyCycle { bpc_pages, period_ns: ms * 1_000_000 };
        assert_eq!(to("4500", Control::Rate, Hold::Period), cycle(45, 10));
        assert_eq!(to("4500", Control::Rate, Hold::Bpc), cycle(90, 20));
        for hold in [Hold::Period, Hold::Bpc] {
            assert_eq!(to("45", Control::Bpc, hold), cycle(45, 10));
            assert_eq!(to("20ms", Control::Period, hold), cycle(90, 20));
        }
        let slower = nudge_load(&load(), Control::Rate, false, Step::Coarse, None, Hold::Bpc).dirty;
        assert_eq!((slower.bpc_pages, slower.rate_pages_per_s().round()), (90, 8000.0));
    }

    #[test]
    fn limits_hold() {
        let mut l = load();
        for _ in 0..20 {
            l = nudge_load(&l, Control::Wset, true, Step::Coarse, Some(100 << 20), Hold::Period);
            l = nudge_load(&l, Control::Load, true, Step::Coarse, None, Hold::Period);
        }
        assert_eq!((l.wset_bytes, l.cpu_load_pct), (100 << 20, 100.0));
        let refused = type_load(&l, Control::Wset, "200M", Some(100 << 20), Hold::Period);
        assert!(refused.unwrap_err().contains("100.0 MiB"));
    }

    #[test]
    fn typed_text_is_understood_or_explained() {
        let l = load();
        let typed = |control, text| type_load(&l, control, text, None, Hold::Period);
        assert_eq!(typed(Control::Rate, "12_500").unwrap().dirty.rate_pages_per_s(), 12_500.0);
        assert!(typed(Control::Rate, "9k/s").unwrap_err().contains("invalid RATE '9k/s'"));
        assert!(typed(Control::Load, "101").is_err());
        assert!(typed(Control::Period, "0s").is_err());
        assert!(typed(Control::Bpc, "nine").unwrap_err().contains("whole number"));
        let m = default_migration();
        assert_eq!(type_migration(&m, Control::Bandwidth, "32M").unwrap().bandwidth_bytes_per_s, Some(32_000_000));
        assert!(type_migration(&m, Control::Policy, "xen").unwrap_err().contains("xen-3.4"));
        assert_eq!(type_migration(&m, Control::Policy, "rounds=5").unwrap().policy.rounds, Some(5));
        assert!(type_migration(&m, Control::PostCopy, "on").unwrap().post_copy);
    }

    #[test]
    fn policies_cycle_through_the_presets() {
        let mut m = default_migration();
        let mut names = Vec::new();
        for _ in 0..3 {
            m = nudge_migration(&m, Control::Policy, true, Step::Fine);
            names.push(m.policy.name.clone());
        }
        assert_eq!(names, ["none", "timeout", "xen-3.4"]);
    }

    #[test]
    fn the_selection_walks_through_the_parameters_and_round() {
        let mut at = Control::AutoConverge;
        let mut seen = Vec::new();
        for _ in 0..3 {
            at = at.moved(1, 2);
            seen.push(at);
        }
        assert_eq!(seen, [Control::Parameter(0), Control::Parameter(1), Control::Load]);
        assert_eq!(Control::Load.moved(-1, 2), Control::Parameter(1));
        assert_eq!(Control::Load.moved(-1, 0), Control::AutoConverge);
        // Fewer are offered than were: from a row that is gone one still gets somewhere.
        assert_eq!(Control::Parameter(9).moved(-1, 0), Control::PostCopy);
        assert_eq!(Control::Parameter(1).migration_row(), Some(6));
    }

    #[test]
    fn a_parameter_is_read_in_its_unit() {
        let p =
            |value: serde_json::Value, unit: &str| Parameter { name: "x".into(), value, unit: unit.into(), live: true };
        let typed = |p: &Parameter, text| type_parameter(p, text);
        assert_eq!(typed(&p(1.into(), "bytes/s"), "32M"), Ok(Some(32_000_000u64.into())));
        assert_eq!(typed(&p(1.into(), "bytes"), "64M"), Ok(Some((64u64 << 20).into())));
        assert_eq!(typed(&p(1.into(), "ms"), "1.5s"), Ok(Some(1500u64.into())));
        assert_eq!(typed(&p(1.into(), "ms"), "40"), Ok(Some(40u64.into())));
        assert_eq!(typed(&p(20.into(), "%"), "30 %"), Ok(Some(30u64.into())));
        assert_eq!(typed(&p(true.into(), ""), "off"), Ok(Some(false.into())));
        assert_eq!(typed(&p("none".into(), ""), "zlib"), Ok(Some("zlib".into())));
        assert_eq!(typed(&p(20.into(), "%"), "none"), Ok(None));
        assert!(typed(&p(20.into(), "%"), "a lot").unwrap_err().contains("whole number"));
        assert!(typed(&p(true.into(), ""), "perhaps").unwrap_err().contains("on"));
        assert!(typed(&p(serde_json::json!([]), ""), "1").unwrap_err().contains("cannot be typed"));
    }

    #[test]
    fn a_changed_parameter_is_known_as_such() {
        let parameter = Parameter { name: "x".into(), value: 20.into(), unit: "%".into(), live: false };
        let mut m = MigrationSettings::default();
        assert_eq!(changed(&m, &parameter), None);
        let up = nudge_parameter(&m, &parameter, true, Step::Fine).unwrap();
        m.extra.insert("x".into(), up);
        assert_eq!(changed(&m, &parameter).map(|v| show_parameter(v, "%")), Some("21 %".into()));
        assert_eq!(show_parameter(&134_217_728u64.into(), "bytes/s"), "134.2 MB/s");
    }
}
