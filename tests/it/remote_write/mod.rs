//! Remote write, the sender: what its requests say, how it takes answers, and the real receivers.

mod queue;
mod requests;
mod witness;
