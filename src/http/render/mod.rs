//! Pages of series, written from a [`crate::store::SiteView`] in blocks.
//!
//! Invariant: writing a page holds no lock and, beside the selection, no more memory than a block, what is prepared of each
//! target, and on a typed page one target's samples of one family, which have to be sorted; so a reader may be slow, or
//! leave, and nobody notices. A line is put together from text that stands ready (name, pairs, target's labels, appended
//! labels, timestamp); only the value is formatted.

mod block;
mod family;
mod line;
mod own;
mod typed;
mod untyped;

pub use block::{PageBody, PageError, Progress, respond};
pub use line::{Lines, Style};
pub use own::OwnPage;
pub use typed::TypedPage;
pub use untyped::UntypedPage;
