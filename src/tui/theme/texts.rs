//! The texts of the built-in themes.

/// The built-in theme for dark backgrounds.
pub const DARK: &str = include_str!("../../../themes/dark.toml");
/// The built-in theme for light backgrounds.
pub const LIGHT: &str = include_str!("../../../themes/light.toml");
/// The built-in theme without colours.
pub const MONOCHROME: &str = include_str!("../../../themes/monochrome.toml");

/// The built-in themes: name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("dark", DARK),
    ("light", LIGHT),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("colour-blind", include_str!("../../../themes/colour-blind.toml")),
    ("projector", include_str!("../../../themes/projector.toml")),
    ("monochrome", MONOCHROME),
];
