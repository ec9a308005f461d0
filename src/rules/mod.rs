//! Rules: files of recording and alerting rules, evaluated group by group on a grid of times.

pub mod file;
pub mod template;
