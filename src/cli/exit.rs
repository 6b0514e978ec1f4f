//! Exit codes: what a command came to.

/// Everything worked, and what was asked for happened.
pub(super) const EXIT_OK: u8 = 0;
/// Something was measured, but not everything ended as asked.
pub(super) const EXIT_NOT_AS_ASKED: u8 = 1;
/// The command could not do its work: bad input, a missing program, a refused permission.
pub(super) const EXIT_TROUBLE: u8 = 2;
/// It worked, but the capture is not whole.
pub(super) const EXIT_CAPTURE: u8 = 3;
/// A migration was lost sight of, or left running: where the guest is has to be looked for.
pub(super) const EXIT_UNSETTLED: u8 = 4;
/// It worked, but whether what was promised was kept is not known.
pub(super) const EXIT_UNKNOWN: u8 = 5;
