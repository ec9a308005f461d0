//! Sockets: the accept loop of all listeners, and what scrapes and pushes share as clients.
//!
//! Everything that a peer can make us hold has a bound here (connections, handshakes, headers, idle time, unread answers),
//! and everything refused is counted by a fixed word ([`ServerCounts`]). HTTP's routes are not known here: a listener
//! serves any tower service and says in the extensions of each request who asks ([`Connection`]).

mod activity;
mod body;
pub mod client;
pub mod connect;
mod connection;
mod counts;
mod limits;
mod retry;
mod server;
mod slots;
mod watched;

pub use body::{BodyTimeout, RequestBody};
pub use connection::Connection;
pub use counts::{Refusal, ServerCounts};
pub use limits::ServerLimits;
pub use retry::{Backoff, retry_after};
pub use server::{BindError, Server};
