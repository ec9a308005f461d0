//! PromQL, evaluated over views. Synchronous, no clock: time comes in as an argument.
//!
//! Source → [`mod@parse`] → [`ast`] → [`Engine`] over a [`Source`] → [`Value`]. An expression is evaluated for all its steps at
//! once: a node's result is a [`Vector`], rows beside a block of cells, so an instant query is a range query of one step.
//! Label sets ([`Rows`]) are shared and immutable: what does not change from one evaluation to the next keeps its
//! identity, and with it everything that was worked out from it.

mod aggregate;
pub mod ast;
mod binary;
pub mod call;
pub mod compensated;
pub mod elementary;
mod engine;
mod evaluator;
pub mod function;
pub mod histogram;
mod kept;
mod keys;
mod needs;
mod notes;
pub mod over_time;
pub mod parse;
mod plan;
mod plans;
mod pretty;
mod print;
pub mod quantile;
pub mod remark;
mod repeats;
mod rows;
mod select;
mod selection;
mod series;
mod source;
mod stack;
mod store_source;
mod subquery;
mod value;

pub use engine::{Engine, Outcome};
pub use needs::needs;
pub use notes::{Annotation, Annotations, Budget, EvalError, Severity};
pub use parse::{ParseError, ParseOptions, parse, place};
pub use plan::Plan;
pub use plans::{PlannedQuery, Plans};
pub use pretty::pretty;
pub use rows::{Block, LabelsReader, Rows};
pub use selection::SelectionCache;
pub use series::SeriesSource;
pub use source::{Batch, RangeReading, Samples, Source};
pub use store_source::StoreSource;
pub use value::{ABSENT, Cell, Cells, RangeSeries, Steps, Value, Vector};
