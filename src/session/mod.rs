//! The session: one fold over the event stream, and what writes and reads captures.

mod fold;
pub mod holes;
pub mod list;
pub mod live;
pub mod notable;
pub mod place;
pub mod reader;
pub mod recorder;
mod remark;
pub mod replay;
pub mod result;
mod shared;
pub mod state;
#[cfg(test)]
mod testing;

pub use live::{FinishReport, Live};
pub use reader::Reader;
pub use recorder::{RecorderOptions, RecorderStatus};
pub use replay::Player;
pub use shared::Shared;
pub use state::State;
