//! What the fuzz targets do with their bytes: one function a decoder, which panics where the decoder breaks a promise.
//!
//! Included twice: by the targets of this folder, where libFuzzer chooses the bytes, and by `tests/it/fuzz_corpus.rs`, which
//! runs what is kept in `corpus/` through the same functions with every `cargo test`. Nothing here may depend on the
//! clock or on chance, or a finding could not be repeated.

pub(crate) mod alert_template;
pub(crate) mod config_file;
pub(crate) mod expression;
pub(crate) mod frame_stream;
pub(crate) mod journal_segment;
pub(crate) mod negotiation;
pub(crate) mod page;
pub(crate) mod page_cache;
pub(crate) mod protobuf_page;
pub(crate) mod push_body;
pub(crate) mod relabel;
pub(crate) mod remote_write_request;
pub(crate) mod rule_file;
pub(crate) mod scalars;
pub(crate) mod scraped_body;
pub(crate) mod selectors;
pub(crate) mod series_notation;
pub(crate) mod target_groups;
pub(crate) mod tls_files;
mod unpacked;
pub(crate) mod verdict;

/// A target's name, which is its corpus folder's too, and its function.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: [Target; 21] = [
    ("alert_template", alert_template::run),
    ("config_file", config_file::run),
    ("expression", expression::run),
    ("frame_stream", frame_stream::run),
    ("journal_segment", journal_segment::run),
    ("negotiation", negotiation::run),
    ("openmetrics_page", page::run_openmetrics),
    ("page_cache", page_cache::run),
    ("protobuf_page", protobuf_page::run),
    ("push_body", push_body::run),
    ("relabel", relabel::run),
    ("remote_write_request", remote_write_request::run),
    ("rule_file", rule_file::run),
    ("scalars", scalars::run),
    ("scraped_body", scraped_body::run),
    ("selectors", selectors::run),
    ("series_notation", series_notation::run),
    ("target_groups", target_groups::run),
    ("text_page", page::run_text),
    ("tls_files", tls_files::run),
    ("verdict", verdict::run),
];
