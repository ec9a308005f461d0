//! The tokens as text for `promql-parser`, which decides how they belong together.
//!
//! It is given the structure alone. What it reads otherwise than Prometheus 3.5 (escapes in raw strings, `or` in braces, numbers
//! with underscores, words that became keywords later) is replaced by a stand-in that it cannot misread: a name is `m7`, a
//! string `"m7"`, a number 1, and all braces hold the same matcher. What was really written is read from the tokens when
//! its tree is lowered.

use super::token::{Keyword, Kind, Token, Tokens};
use crate::promql::ast::BinaryOp;
use crate::promql::function::Function;

/// The source as the parser may read it.
pub(super) fn spell(tokens: &Tokens<'_>) -> String {
    let mut speller = Speller { tokens, text: String::with_capacity(tokens.source.len()), is_in_brackets: false };
    let mut at = 0;
    while at < tokens.list.len() {
        at = speller.spell(at);
    }
    speller.text
}

struct Speller<'t, 's> {
    tokens: &'t Tokens<'s>,
    text: String,
    is_in_brackets: bool,
}

impl Speller<'_, '_> {
    /// Writes the token at `at`, and gives where the next one to write stands.
    fn spell(&mut self, at: usize) -> usize {
        let token = self.tokens.list[at];
        match token.kind {
            Kind::LeftBrace => return self.braces(at),
            Kind::Identifier if self.is_function(at) => self.push(self.tokens.text(token.span)),
            Kind::Identifier | Kind::MetricIdentifier => self.name(at),
            // Later versions have functions called so.
            Kind::Preprocessor if at == 0 || self.kind(at - 1) != Some(Kind::At) => self.name(at),
            Kind::Number => self.push("1"),
            Kind::Duration => self.push("1s"),
            Kind::String => self.string(at),
            Kind::Operator(BinaryOp::Add | BinaryOp::Sub) if self.is_in_brackets => {}
            Kind::End | Kind::Fault => {}
            _ => self.word(token),
        }
        at + 1
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.list.get(at).map(|token| token.kind)
    }

    /// What is none of 3.5's functions could be a keyword to the parser, or a later one's.
    fn is_function(&self, at: usize) -> bool {
        let name = self.tokens.text(self.tokens.list[at].span);
        self.kind(at + 1) == Some(Kind::LeftParen) && Function::by_name(name).is_some()
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push(' ');
    }

    /// A name that no other token has: the parser looks for labels that stand in two lists.
    fn name(&mut self, at: usize) {
        self.push(&format!("m{at}"));
    }

    fn string(&mut self, at: usize) {
        self.push(&format!("\"m{at}\""));
    }

    /// Whether a word before them is a name or an operator is for the grammar to say, so there always are some.
    fn braces(&mut self, at: usize) -> usize {
        self.push("{l=\"m\"}");
        let inside = self.tokens.list[at..].iter().position(|token| token.kind == Kind::RightBrace);
        inside.map_or(self.tokens.list.len(), |length| at + length + 1)
    }

    /// In lower case, as all of them stand in the grammar.
    fn word(&mut self, token: Token) {
        match token.kind {
            Kind::LeftBracket => self.is_in_brackets = true,
            Kind::RightBracket => self.is_in_brackets = false,
            _ => {}
        }
        let text = self.tokens.text(token.span).to_ascii_lowercase();
        self.push(&text);
    }
}

/// A token that can be a metric's name before braces.
pub(super) fn is_metric_name(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) | Kind::Preprocessor => true,
        Kind::Operator(op) => op.is_set(),
        Kind::Keyword(keyword) => matches!(keyword, Keyword::By | Keyword::Offset | Keyword::Without),
        _ => false,
    }
}
