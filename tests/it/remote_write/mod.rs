//! Remote write, both ends. The sender: what its requests say, how it takes answers, and the real receivers. The receiver: what it makes
//! of requests, what it answers, and the real senders.

mod compliance;
mod delivery;
mod http;
mod queue;
mod received;
mod receiver;
mod requests;
mod senders;
mod witness;
