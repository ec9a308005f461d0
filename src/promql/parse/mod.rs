//! Source to tree: what Prometheus 3.5 accepts, and its words with the place for what it refuses.
//!
//! The grammar is `promql-parser`'s. It gives no positions, reads some literals otherwise than Prometheus, and knows functions and
//! keywords of later versions. So the source is cut into tokens here (`token`), the parser is shown the structure alone
//! (`spell`), and its tree is walked beside the tokens (`lower`), which hold the values and the places; types are
//! checked on the way (`check`). A source that the parser refuses is walked once more for the place (`fault`).
//!
//! The parser's stack does not grow with the source, but everything that walks a tree does: sources are bounded in length and
//! depth before the parser sees them.

mod check;
mod cursor;
mod fault;
mod lower;
mod number;
mod quote;
mod spell;
mod token;

use std::fmt;

use promql_parser::parser;

use super::ast::{Expr, Span};
use super::stack::with_room_for;
use crate::model::Matcher;
use cursor::Cursor;
pub(crate) use quote::quote;
use token::{Kind, Tokens};

/// Bytes of one expression; far beyond what a person or a rule writes.
pub const SOURCE_BYTES_MAX: usize = 256 << 10;

/// How deep an expression may nest, operators of a chain counted: each is a level of the tree. Some rule files have chains of a
/// thousand `or`, written by programs; what is derived for trees takes at most half a KiB of the stack a level.
pub const DEPTH_MAX: usize = 1_280;

/// What the parser and its tree take of the stack a level, at most.
const LEVEL_BYTES: usize = 4 << 10;

/// What may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParseOptions {
    /// Functions and aggregations behind Prometheus's flag `promql-experimental-functions`.
    pub experimental: bool,
}

/// Why a source is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse error: {text}")]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// In Prometheus's words.
    pub text: String,
}

impl ParseError {
    /// `1:5: parse error: …`, the line and the column of the source that it is about; an empty one has none.
    pub fn in_source<'a>(&'a self, source: &'a str) -> impl fmt::Display + 'a {
        let (line, column) = place(source, self.span.start);
        fmt::from_fn(move |f| match source {
            "" => write!(f, "unknown position: {self}"),
            _ => write!(f, "{line}:{column}: {self}"),
        })
    }
}

fn refused(span: Span, text: impl Into<String>) -> ParseError {
    ParseError { span, text: text.into() }
}

/// Line and column of a byte, both from 1, the column in bytes, as Prometheus counts.
pub fn place(source: &str, offset: u32) -> (usize, usize) {
    let before = &source.as_bytes()[..source.len().min(offset as usize)];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_start + 1)
}

/// Reads an expression.
pub fn parse(source: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let tokens = tokens_of(source)?;
    let depth = depth_of(&tokens)?;
    with_room_for(depth, LEVEL_BYTES, || parse_tokens(&tokens, *options))
}

fn parse_tokens(tokens: &Tokens<'_>, options: ParseOptions) -> Result<Expr, ParseError> {
    let parsed = match &tokens.fault {
        None => parser::parse(&spell::spell(tokens)),
        Some(fault) => Err(fault.text.clone()),
    };
    match parsed {
        Ok(parsed) => lower::lower(&parsed, tokens, options),
        Err(reason) => Err(fault::find(tokens, options, reason)),
    }
}

/// Reads one selector without `offset` and `@`, as Prometheus reads `match[]`: it may select everything, and name its metric
/// before the braces and in them.
pub fn parse_selector(source: &str) -> Result<Vec<Matcher>, ParseError> {
    let tokens = tokens_of(source)?;
    let mut cursor = Cursor { tokens: &tokens, at: 0, aggregations: 0 };
    if !spell::is_metric_name(cursor.peek().kind) && cursor.peek().kind != Kind::LeftBrace {
        return Err(cursor.unexpected("", ""));
    }
    let selector = cursor.selector()?;
    cursor.expect(Kind::End, "", "")?;
    Ok(selector.matchers)
}

fn tokens_of(source: &str) -> Result<Tokens<'_>, ParseError> {
    if source.len() > SOURCE_BYTES_MAX {
        let text = format!("expression of {} bytes, expected at most {SOURCE_BYTES_MAX}", source.len());
        return Err(refused(Span::default(), text));
    }
    Ok(Tokens::of(source))
}

/// Counts what could become levels of the tree, before there is one.
fn depth_of(tokens: &Tokens<'_>) -> Result<usize, ParseError> {
    // Operators and brackets of the group that is open, and of those around it; and the deepest group within each.
    let (mut groups, mut deepest_at_all) = (vec![(0, 0)], 0);
    for token in &tokens.list {
        match token.kind {
            Kind::LeftParen => groups.push((1, 0)),
            Kind::RightParen if groups.len() > 1 => {
                let (own, inner) = groups.pop().unwrap_or_default();
                if let Some((_, deepest)) = groups.last_mut() {
                    *deepest = (own + inner).max(*deepest);
                }
            }
            Kind::Operator(_) | Kind::LeftBracket => {
                if let Some((own, _)) = groups.last_mut() {
                    *own += 1;
                }
            }
            _ => {}
        }
        let depth = groups.last().map_or(0, |(own, inner)| own + inner).max(groups.len());
        if depth > DEPTH_MAX {
            return Err(refused(token.span, format!("expression nests deeper than {DEPTH_MAX} levels")));
        }
        deepest_at_all = depth.max(deepest_at_all);
    }
    Ok(deepest_at_all)
}
