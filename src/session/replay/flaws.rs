//! What was wrong with a capture that could still be loaded.

use crate::session::reader::RecordError;

/// What was wrong with a capture that could still be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The first records that could not be read.
    pub corrupt: Vec<RecordError>,
    /// How many could not be read.
    pub corrupt_records: u64,
    /// Which capture it is, where there were several to choose from.
    pub chosen: Option<String>,
    /// Records of a newer minor schema, skipped.
    pub skipped: u64,
    /// Length of the torn last line, bytes.
    pub torn: Option<u64>,
}
