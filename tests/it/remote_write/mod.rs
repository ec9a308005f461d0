//! Remote write, the sender: what its requests say, how it takes answers, and the real receivers.

mod delivery;
mod queue;
mod received;
mod receiver;
mod requests;
mod witness;
