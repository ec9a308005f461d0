//! Pages of series, written from a [`crate::store::SiteView`] by several threads at once.
//!
//! A page is planned first: cut in stretches of some thousand series, which depend on the view alone and not on each other.
//! Each is written, and compressed, by whichever thread of the CPU pool is free; they are sent in order, and no more than
//! a few are ahead of the reader.
//!
//! Invariant: writing a page holds no lock that waits for a reader and, beside the selection and the plan, no more memory
//! than those blocks, what is prepared of each target, and for each block in work on a typed page the samples that have to
//! be sorted; so a reader may be slow, or leave, and nobody notices. A line is put together from text that stands ready
//! (name, pairs, target's labels, appended labels, timestamp); only the value is formatted.

mod batch;
mod block;
mod compress;
mod family;
mod federated;
mod gathered;
mod group;
mod line;
mod messages;
mod metric;
mod own;
mod plan;
mod typed;
mod typed_messages;
mod untyped;

pub use block::{PageBody, PageError, Piece, Progress, respond};
pub use federated::Federated;
pub use line::{Lines, Style};
pub use messages::messages_page;
pub use own::OwnPage;
pub use typed::{TypedBounds, typed_page};
pub use untyped::UntypedPage;
