//! PromQL, evaluated over views. Synchronous, no clock: time comes in as an argument.

pub mod histogram;
