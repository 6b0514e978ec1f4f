//! Whether a theme can be read: contrast with the ground, and colours that stay apart for eyes that
//! lack a kind of cone.
//!
//! Contrast is that of WCAG 2.1, success criteria 1.4.3 (text, 4.5:1) and 1.4.11 (graphics, 3:1).
//! How a dichromat sees a colour is modelled after Machado, Oliveira and Fernandes, "A
//! Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE Transactions on
//! Visualization and Computer Graphics 15(6), 2009, table 1, severity 1.0, in linear RGB. How far
//! apart two colours then are is CIEDE2000 in CIELAB (CIE 142-2001): 1 is about the least that a
//! practised eye sees side by side.

use palette::color_difference::{Ciede2000, Wcag21RelativeContrast};
use palette::{IntoColor, Lab, LinSrgb, Srgb};
use ratatui::style::{Color, Modifier, Style};

use super::{Role, Theme};

/// Contrast that text needs.
pub const TEXT: f32 = 4.5;
/// Contrast that graphics need.
pub const GRAPHICS: f32 = 3.0;
/// Distance (CIEDE2000) from which two colours side by side are told apart without effort.
pub const APART: f32 = 7.0;

/// The darkest and the lightest ground of dark terminals, then of light ones. What is readable on
/// both ends of a range is readable between them.
const GROUNDS: [[(u8, u8, u8); 2]; 2] = [[(0, 0, 0), (0x1e, 0x1e, 0x1e)], [(0xf5, 0xf5, 0xf5), (0xff, 0xff, 0xff)]];

/// Roles that stand side by side and mean different things.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// What they have in common.
    pub name: &'static str,
    /// The roles.
    pub roles: &'static [Role],
}

/// The roles that are told apart side by side. Of the phases those that fill the band: between
/// migrations it is one line at rest, whatever they ended in.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "phases",
        roles: &[
            Role::PhaseSetup,
            Role::PhasePreCopy,
            Role::PhaseStopAndCopy,
            Role::PhasePostCopy,
            Role::PhaseRecovery,
            Role::PhaseFailed,
            Role::PhaseUnknown,
        ],
    },
    Family {
        name: "pings",
        roles: &[
            Role::PingOk,
            Role::PingLate,
            Role::PingLost,
            Role::PingError,
            Role::PingNotSent,
            Role::PingPending,
            Role::PingDuplicate,
        ],
    },
    Family {
        name: "rates",
        roles: &[
            Role::RateRequested,
            Role::RateSet,
            Role::RateAchieved,
            Role::RateOver,
            Role::RateHypervisor,
            Role::Link,
        ],
    },
    Family { name: "cpu", roles: &[Role::CpuGuest, Role::CpuHost, Role::CpuHypervisor] },
    Family { name: "bytes", roles: &[Role::Remaining, Role::Throughput] },
    Family { name: "tones", roles: &[Role::Good, Role::Warn, Role::Error] },
    Family { name: "deltas", roles: &[Role::Better, Role::Worse] },
];

/// Every phase, those between migrations too.
pub const PHASES: Family = Family {
    name: "all phases",
    roles: &[
        Role::PhaseIdle,
        Role::PhaseSetup,
        Role::PhasePreCopy,
        Role::PhaseStopAndCopy,
        Role::PhasePostCopy,
        Role::PhaseRecovery,
        Role::PhaseDone,
        Role::PhaseFailed,
        Role::PhaseCancelled,
        Role::PhaseUnknown,
    ],
};

/// Eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vision {
    /// With all three kinds of cones.
    Normal,
    /// Without those for long waves.
    Protanopia,
    /// Without those for middle waves.
    Deuteranopia,
    /// Without those for short waves.
    Tritanopia,
}

impl Vision {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Protanopia, Self::Deuteranopia, Self::Tritanopia];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal vision",
            Self::Protanopia => "protanopia",
            Self::Deuteranopia => "deuteranopia",
            Self::Tritanopia => "tritanopia",
        }
    }

    /// What these eyes make of a colour.
    fn sees(self, (r, g, b): (u8, u8, u8)) -> Lab {
        let seen = Srgb::new(r, g, b).into_format::<f32>().into_linear();
        let [x, y, z] = self.matrix().map(|[r, g, b]| (r * seen.red + g * seen.green + b * seen.blue).clamp(0.0, 1.0));
        LinSrgb::new(x, y, z).into_color()
    }

    fn matrix(self) -> [[f32; 3]; 3] {
        match self {
            Self::Normal => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            Self::Protanopia => {
                [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
            }
            Self::Deuteranopia => {
                [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
            }
            Self::Tritanopia => {
                [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
            }
        }
    }
}

/// Something that is hard to see.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A role that stands out too little from what is behind it.
    Faint {
        /// The role.
        role: Role,
        /// The lowest contrast on the grounds that the theme is for.
        contrast: f32,
        /// What it needs.
        needed: f32,
    },
    /// Two roles of a family that some eyes take for one.
    Alike {
        /// The two.
        roles: [Role; 2],
        /// Whose eyes.
        vision: Vision,
        /// How far apart they are, CIEDE2000.
        distance: f32,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Faint { role, contrast, needed } => {
                write!(f, "{}: contrast {contrast:.1}:1, where {needed}:1 is needed", role.name())
            }
            Self::Alike { roles: [a, b], vision, distance } => {
                write!(
                    f,
                    "{} and {}: {distance:.1} apart under {} ({APART} is easy)",
                    a.name(),
                    b.name(),
                    vision.name()
                )
            }
        }
    }
}

/// What is hard to see in a theme in its full colours: faint roles, then pairs too much alike.
#[must_use]
pub fn findings(theme: &Theme) -> Vec<Finding> {
    let faint = Role::ALL.iter().filter_map(|role| {
        let (contrast, needed) = (contrast(theme, *role)?, if is_graphic(*role) { GRAPHICS } else { TEXT });
        (contrast < needed).then_some(Finding::Faint { role: *role, contrast, needed })
    });
    let alike = FAMILIES.iter().flat_map(|family| pairs(theme, *family)).filter(|(.., d)| *d < APART);
    faint.chain(alike.map(|(roles, vision, distance)| Finding::Alike { roles, vision, distance })).collect()
}

/// Each pair of a family that is told apart by colour, with the eyes to which it is closest and
/// its distance to them.
fn pairs(theme: &Theme, family: Family) -> Vec<([Role; 2], Vision, f32)> {
    let mut all = Vec::new();
    for (i, a) in family.roles.iter().enumerate() {
        for b in &family.roles[..i] {
            let (Some(x), Some(y)) = (area(theme.style(*a)), area(theme.style(*b))) else { continue };
            let closest = Vision::ALL
                .map(|vision| (vision, vision.sees(x).difference(vision.sees(y))))
                .into_iter()
                .min_by(|p, q| p.1.total_cmp(&q.1));
            all.extend(closest.map(|(vision, distance)| ([*b, *a], vision, distance)));
        }
    }
    all
}

/// The lowest contrast between a role's ink and what is behind it; `None` where the colour is the
/// terminal's own.
#[must_use]
pub fn contrast(theme: &Theme, role: Role) -> Option<f32> {
    let style = theme.style(role);
    let ink = rgb(style.fg)?;
    match style.bg {
        Some(ground) => Some(ratio(ink, rgb(Some(ground))?)),
        None => {
            let grounds = GROUNDS[usize::from(is_light(theme))];
            grounds.into_iter().map(|ground| ratio(ink, ground)).min_by(f32::total_cmp)
        }
    }
}

/// Whether a theme is made for light backgrounds.
#[must_use]
pub fn is_light(theme: &Theme) -> bool {
    ratio(theme.paper.ground, (0, 0, 0)) > ratio(theme.paper.ground, (255, 255, 255))
}

/// The colour that fills the better part of a cell.
fn area(style: Style) -> Option<(u8, u8, u8)> {
    let (ink, ground) = (rgb(style.fg), rgb(style.bg));
    if style.add_modifier.contains(Modifier::REVERSED) { ink } else { ground.or(ink) }
}

fn rgb(colour: Option<Color>) -> Option<(u8, u8, u8)> {
    match colour? {
        Color::Rgb(r, g, b) => Some((r, g, b)),
        _ => None,
    }
}

fn ratio(a: (u8, u8, u8), b: (u8, u8, u8)) -> f32 {
    let of = |(r, g, b): (u8, u8, u8)| Srgb::new(r, g, b).into_format::<f32>();
    of(a).relative_contrast(of(b))
}

/// Whether a role draws lines and areas, and no text.
fn is_graphic(role: Role) -> bool {
    matches!(
        role,
        Role::Rule
            | Role::Slider
            | Role::PingOk
            | Role::PingBody
            | Role::RateAchieved
            | Role::RateBody
            | Role::RateOver
            | Role::Remaining
            | Role::RemainingBody
            | Role::Throughput
            | Role::ThroughputBody
            | Role::CpuGuest
            | Role::CpuHost
            | Role::CpuHypervisor
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{BUILT_IN, Depth};

    fn built_in() -> impl Iterator<Item = Theme> {
        BUILT_IN.iter().map(|(name, text)| Theme::parse(name, text).unwrap())
    }

    #[test]
    fn built_in_themes_are_readable_and_told_apart_by_every_eye() {
        for theme in built_in() {
            let found: Vec<String> = findings(&theme).iter().map(ToString::to_string).collect();
            assert!(found.is_empty(), "{}:\n{}", theme.name, found.join("\n"));
        }
    }

    #[test]
    fn the_colour_blind_theme_keeps_even_more_apart() {
        let theme = built_in().find(|t| t.name == "colour-blind").unwrap();
        let families = FAMILIES.iter().copied().chain([PHASES]);
        let all: Vec<_> = families.flat_map(|family| pairs(&theme, family)).collect();
        // 21 + 21 + 15 + 3 + 1 + 3 + 1, and 45 of all ten phases: no pair is left out.
        assert_eq!(all.len(), 110);
        for ([a, b], vision, distance) in all {
            assert!(distance >= 10.0, "{} and {}: {distance} under {}", a.name(), b.name(), vision.name());
        }
    }

    #[test]
    fn high_contrast_is_high() {
        let theme = built_in().find(|t| t.name == "high-contrast").unwrap();
        for role in Role::ALL {
            assert!(contrast(&theme, *role).is_none_or(|c| c >= 7.0), "{}: {:?}", role.name(), contrast(&theme, *role));
        }
    }

    #[test]
    fn coloured_themes_say_their_colours() {
        // Were a colour the terminal's own, nothing of the above would be checked for it.
        for theme in built_in().filter(|t| t.name != "monochrome") {
            for role in FAMILIES.iter().chain([&PHASES]).flat_map(|f| f.roles) {
                assert!(area(theme.style(*role)).is_some(), "{}: {}", theme.name, role.name());
            }
        }
    }

    #[test]
    fn sixteen_and_256_colours_keep_families_apart() {
        for depth in [Depth::Sixteen, Depth::Indexed] {
            for theme in built_in().filter(|t| t.name != "monochrome").map(|t| t.at_depth(depth)) {
                for family in FAMILIES {
                    for (i, a) in family.roles.iter().enumerate() {
                        for b in &family.roles[..i] {
                            let (x, y) = (theme.style(*a), theme.style(*b));
                            assert_ne!(x, y, "{}, {depth:?}: {} and {}", theme.name, a.name(), b.name());
                        }
                    }
                }
                for role in Role::ALL {
                    let style = theme.style(*role);
                    let full = |c: Option<Color>| match c {
                        Some(Color::Rgb(..)) => true,
                        Some(Color::Indexed(_)) => depth == Depth::Sixteen,
                        _ => false,
                    };
                    assert!(!full(style.fg) && !full(style.bg), "{}, {depth:?}: {}", theme.name, role.name());
                    // On itself nothing is seen.
                    assert!(style.fg.is_none() || style.fg != style.bg, "{}: {}", theme.name, role.name());
                }
            }
        }
    }

    #[test]
    fn monochrome_has_no_colour() {
        for theme in [Theme::mono(), built_in().next().unwrap().at_depth(Depth::Mono)] {
            for role in Role::ALL {
                assert_eq!((theme.style(*role).fg, theme.style(*role).bg), (None, None));
            }
            assert!(theme.style(Role::PingLost).add_modifier.contains(Modifier::REVERSED));
            assert!(findings(&theme).is_empty());
        }
    }

    #[test]
    fn what_is_wrong_is_found() {
        let text = "[style]\nlink = \"#303030\"\nphase_setup = \"#e86464\"\nphase_pre_copy = \"#a0a040\"\n";
        let found = findings(&Theme::parse("t", text).unwrap());
        assert!(matches!(found[..], [Finding::Faint { role: Role::Link, .. }, Finding::Alike { .. }]), "{found:?}");
        assert!(found[1].to_string().starts_with("phase_setup and phase_pre_copy: "), "{}", found[1]);
    }

    #[test]
    fn the_model_does_as_its_authors_say() {
        // Pure red is a dark yellow to protanopes; white and black are what they are to everyone.
        let red = Vision::Protanopia.sees((255, 0, 0));
        assert!(red.l < Vision::Normal.sees((255, 0, 0)).l - 5.0 && red.b > 20.0, "{red:?}");
        for vision in Vision::ALL {
            let (white, black) = (vision.sees((255, 255, 255)), vision.sees((0, 0, 0)));
            assert!(white.l > 99.0 && white.a.abs() < 1.0 && white.b.abs() < 1.0, "{white:?}");
            assert!(black.l < 0.1, "{black:?}");
        }
        // The pair that has given the deficiency its name.
        let apart = |v: Vision| v.sees((200, 60, 60)).difference(v.sees((110, 110, 40)));
        assert!(apart(Vision::Deuteranopia) < apart(Vision::Normal) / 2.0);
    }
}
