//! The start screen: what is offered and recorded as a list, more about the selected row beside or
//! below it, or a form being filled in.

mod detail;
mod draw;
mod form;
mod list;
mod look;

pub(crate) use draw::draw;
