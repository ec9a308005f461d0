//! Prometheus remote write: what the gateway was pushed and what its rules recorded, sent to databases.
//!
//! [`message`] is the wire format of both versions. [`send`] reads the gateway's journal by durable cursor and delivers it to any
//! number of endpoints, in order and whatever happens to either side. [`receive`] takes the same requests from those who stand in for
//! collectors.

pub mod message;
pub mod receive;
pub mod send;
