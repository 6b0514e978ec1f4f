//! The two colours of the terminal itself.

/// Red, green, blue.
pub type Rgb = (u8, u8, u8);

/// The terminal's own two colours, which `Color::Reset` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Text.
    pub ink: Rgb,
    /// Background.
    pub ground: Rgb,
}

impl Paper {
    /// A dark terminal.
    pub const DARK: Self = Self { ink: (0xd8, 0xde, 0xe9), ground: (0x14, 0x17, 0x1c) };
    /// A light terminal.
    pub const LIGHT: Self = Self { ink: (0x24, 0x29, 0x2f), ground: (0xfd, 0xfd, 0xfc) };
}
