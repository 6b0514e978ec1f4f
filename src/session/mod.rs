//! The session: one fold over the event stream, and what writes and reads captures.

mod claims;
mod clean;
#[cfg(test)]
mod day;
mod fold;
pub mod holes;
pub mod list;
pub mod live;
pub mod moment;
pub mod notable;
pub mod outcomes;
pub mod outlook;
pub mod place;
pub mod probed;
pub mod product;
pub mod promise;
mod pyramid;
pub mod reader;
pub mod recorder;
mod remark;
pub mod replay;
pub mod result;
mod shared;
pub mod state;
pub mod stopping;
#[cfg(test)]
mod testing;
pub mod trail;
pub mod wall;

pub use holes::Hole;
pub use live::{FinishReport, Live};
pub use outcomes::Outcomes;
pub use pyramid::Summary;
pub use reader::Reader;
pub use recorder::{RecorderOptions, RecorderStatus};
pub use replay::Player;
pub use shared::Shared;
pub use state::State;
