//! Source text to tokens, by Prometheus's lexical rules and in its words.
//!
//! The list ends with [`Kind::End`], or with [`Kind::Fault`] where something stands that is no token: what lies before a
//! fault is still there, for a syntax error further left is the one to report.

use super::ParseError;
use super::number;
use crate::promql::ast::{AggregateOp, BinaryOp, Span};

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// What a token is. Names, numbers and strings are read from the source at their span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name without colon that is no keyword; inside braces any name.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    /// With its quotes.
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
    At,
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
    /// `start` or `end`, names like others except behind `@`.
    Preprocessor,
    /// Behind everything.
    End,
    /// No token; [`Tokens::fault`] says why.
    Fault,
}

/// The words that stand between expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Bool,
}

/// The words with a meaning of their own, whatever their case.
const WORDS: [(&str, Kind); 30] = [
    ("and", Kind::Operator(BinaryOp::And)),
    ("or", Kind::Operator(BinaryOp::Or)),
    ("unless", Kind::Operator(BinaryOp::Unless)),
    ("atan2", Kind::Operator(BinaryOp::Atan2)),
    ("sum", Kind::Aggregator(AggregateOp::Sum)),
    ("avg", Kind::Aggregator(AggregateOp::Avg)),
    ("count", Kind::Aggregator(AggregateOp::Count)),
    ("min", Kind::Aggregator(AggregateOp::Min)),
    ("max", Kind::Aggregator(AggregateOp::Max)),
    ("group", Kind::Aggregator(AggregateOp::Group)),
    ("stddev", Kind::Aggregator(AggregateOp::Stddev)),
    ("stdvar", Kind::Aggregator(AggregateOp::Stdvar)),
    ("topk", Kind::Aggregator(AggregateOp::TopK)),
    ("bottomk", Kind::Aggregator(AggregateOp::BottomK)),
    ("count_values", Kind::Aggregator(AggregateOp::CountValues)),
    ("quantile", Kind::Aggregator(AggregateOp::Quantile)),
    ("limitk", Kind::Aggregator(AggregateOp::LimitK)),
    ("limit_ratio", Kind::Aggregator(AggregateOp::LimitRatio)),
    ("offset", Kind::Keyword(Keyword::Offset)),
    ("by", Kind::Keyword(Keyword::By)),
    ("without", Kind::Keyword(Keyword::Without)),
    ("on", Kind::Keyword(Keyword::On)),
    ("ignoring", Kind::Keyword(Keyword::Ignoring)),
    ("group_left", Kind::Keyword(Keyword::GroupLeft)),
    ("group_right", Kind::Keyword(Keyword::GroupRight)),
    ("bool", Kind::Keyword(Keyword::Bool)),
    ("start", Kind::Preprocessor),
    ("end", Kind::Preprocessor),
    ("inf", Kind::Number),
    ("nan", Kind::Number),
];

/// A source cut into tokens.
pub(super) struct Tokens<'s> {
    pub(super) source: &'s str,
    /// The last one is [`Kind::End`] or [`Kind::Fault`].
    pub(super) list: Vec<Token>,
    /// Why it ends with [`Kind::Fault`].
    pub(super) fault: Option<ParseError>,
}

impl<'s> Tokens<'s> {
    /// Cuts all of `source`.
    pub(super) fn of(source: &'s str) -> Tokens<'s> {
        let mut lexer = Lexer { source, start: 0, at: 0, parens: 0, in_braces: false, brackets: Brackets::Closed };
        let mut list = Vec::with_capacity(source.len() / 4 + 1);
        loop {
            match lexer.next() {
                Ok(kind) => list.push(Token { kind, span: lexer.span() }),
                Err(text) => {
                    let end = span(lexer.start, source.len());
                    list.push(Token { kind: Kind::Fault, span: end });
                    return Tokens { source, list, fault: Some(ParseError { span: end, text }) };
                }
            }
            if list.last().is_some_and(|token| token.kind == Kind::End) {
                return Tokens { source, list, fault: None };
            }
        }
    }

    /// What stands at a place.
    pub(super) fn text(&self, span: Span) -> &'s str {
        &self.source[span.start as usize..span.end as usize]
    }
}

/// Sources are at most [`SOURCE_BYTES_MAX`](super::SOURCE_BYTES_MAX) long.
fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

struct Lexer<'s> {
    source: &'s str,
    /// Where the token begins.
    start: usize,
    at: usize,
    parens: usize,
    in_braces: bool,
    brackets: Brackets,
}

/// How far the brackets of a range or a subquery have come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brackets {
    Closed,
    /// Before the first duration.
    Opened,
    /// Behind it.
    Ranged,
    /// Behind the colon.
    Stepped,
}

impl Lexer<'_> {
    fn span(&self) -> Span {
        span(self.start, self.at)
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes the next character if it is the one that is asked for.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let is_wanted = self.peek().is_some_and(wanted);
        if is_wanted {
            self.bump();
        }
        is_wanted
    }

    fn take_run(&mut self, wanted: impl Fn(char) -> bool + Copy) {
        while self.take(wanted) {}
    }

    fn text(&self) -> &str {
        &self.source[self.start..self.at]
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.take_run(is_space);
            if self.peek() != Some('#') {
                return;
            }
            self.take_run(|c| c != '\n' && c != '\r');
        }
    }

    fn next(&mut self) -> Result<Kind, String> {
        self.skip_blanks_and_comments();
        self.start = self.at;
        let Some(first) = self.bump() else { return self.end() };
        match first {
            '"' | '\'' | '`' | ',' if self.brackets != Brackets::Opened => self.quoted_or_comma(first),
            _ if self.in_braces => self.inside_braces(first),
            _ if self.brackets == Brackets::Opened && !may_open_range(first) => {
                Err(format!("unexpected character in duration expression: {}", quoted(Some(first))))
            }
            ':' if self.brackets != Brackets::Closed => self.colon(),
            '0'..='9' => self.number_or_duration(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(),
            _ if is_name_start(first) || first == ':' => Ok(self.word()),
            '(' | ')' | '{' | '[' | ']' => self.bracket(first),
            _ => self.operator(first),
        }
    }

    fn end(&self) -> Result<Kind, String> {
        match self {
            Lexer { in_braces: true, .. } => Err("unexpected end of input inside braces".to_owned()),
            Lexer { brackets: Brackets::Opened, .. } => {
                Err("unexpected end of input in duration expression".to_owned())
            }
            Lexer { parens: 1.., .. } => Err("unclosed left parenthesis".to_owned()),
            Lexer { brackets: Brackets::Closed, .. } => Ok(Kind::End),
            _ => Err("unclosed left bracket".to_owned()),
        }
    }

    fn quoted_or_comma(&mut self, first: char) -> Result<Kind, String> {
        match first {
            ',' => Ok(Kind::Comma),
            '`' => self.raw_string(),
            quote => self.string(quote),
        }
    }

    fn colon(&mut self) -> Result<Kind, String> {
        match self.brackets {
            Brackets::Opened => {
                self.start = self.at;
                Err("unexpected colon before duration in duration expression".to_owned())
            }
            Brackets::Stepped => Err("unexpected colon ':'".to_owned()),
            Brackets::Ranged | Brackets::Closed => {
                self.brackets = Brackets::Stepped;
                Ok(Kind::Colon)
            }
        }
    }

    fn inside_braces(&mut self, first: char) -> Result<Kind, String> {
        match first {
            '=' => Ok(if self.take(|c| c == '~') { Kind::Matches } else { Kind::Assign }),
            '!' => match self.bump() {
                Some('~') => Ok(Kind::MatchesNot),
                Some('=') => Ok(Kind::Operator(BinaryOp::NotEqual)),
                other => Err(format!("unexpected character after '!' inside braces: {}", quoted(other))),
            },
            '{' => Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.in_braces = false;
                Ok(Kind::RightBrace)
            }
            _ if is_name_start(first) => {
                self.take_run(is_name_part);
                Ok(Kind::Identifier)
            }
            _ => Err(format!("unexpected character inside braces: {}", quoted(Some(first)))),
        }
    }

    fn bracket(&mut self, first: char) -> Result<Kind, String> {
        match first {
            '(' => self.parens += 1,
            ')' if self.parens == 0 => {
                self.start = self.at;
                return Err("unexpected right parenthesis ')'".to_owned());
            }
            ')' => self.parens -= 1,
            '{' => self.in_braces = true,
            '[' if self.brackets != Brackets::Closed => return Err("unexpected left bracket '['".to_owned()),
            ']' if self.brackets == Brackets::Closed => return Err("unexpected right bracket ']'".to_owned()),
            '[' => self.brackets = Brackets::Opened,
            _ => self.brackets = Brackets::Closed,
        }
        Ok(match first {
            '(' => Kind::LeftParen,
            ')' => Kind::RightParen,
            '{' => Kind::LeftBrace,
            '[' => Kind::LeftBracket,
            _ => Kind::RightBracket,
        })
    }

    fn operator(&mut self, first: char) -> Result<Kind, String> {
        let op = match first {
            '+' => BinaryOp::Add,
            '-' => BinaryOp::Sub,
            '*' => BinaryOp::Mul,
            '/' => BinaryOp::Div,
            '%' => BinaryOp::Mod,
            '^' => BinaryOp::Pow,
            '<' if self.take(|c| c == '=') => BinaryOp::LessOrEqual,
            '<' => BinaryOp::Less,
            '>' if self.take(|c| c == '=') => BinaryOp::GreaterOrEqual,
            '>' => BinaryOp::Greater,
            '=' if self.take(|c| c == '=') => BinaryOp::Equal,
            '=' if self.peek() == Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
            '=' => return Ok(Kind::Assign),
            '!' => match self.bump() {
                Some('=') => BinaryOp::NotEqual,
                other => return Err(format!("unexpected character after '!': {}", quoted(other))),
            },
            '@' => return Ok(Kind::At),
            _ => return Err(format!("unexpected character: {}", quoted(Some(first)))),
        };
        Ok(Kind::Operator(op))
    }

    fn word(&mut self) -> Kind {
        self.take_run(|c| is_name_part(c) || c == ':');
        let word = self.text();
        match WORDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(word)) {
            Some((_, kind)) => *kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        }
    }

    fn number_or_duration(&mut self) -> Result<Kind, String> {
        if self.brackets == Brackets::Opened {
            self.brackets = Brackets::Ranged;
        }
        let rest = &self.source[self.start..];
        let (length, is_number) = number::scan(rest);
        self.at = self.start + length;
        if is_number {
            return Ok(Kind::Number);
        }
        match number::scan_units(&rest[length..]) {
            Ok(units) => {
                self.at += units;
                Ok(Kind::Duration)
            }
            Err(units) => Err(format!("bad number or duration syntax: {:?}", &rest[..length + units])),
        }
    }

    fn string(&mut self, quote: char) -> Result<Kind, String> {
        loop {
            match self.bump() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some('\\') => self.escape(quote)?,
                Some(c) if c == quote => return Ok(Kind::String),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Result<Kind, String> {
        self.take_run(|c| c != '`');
        if self.bump().is_some() { Ok(Kind::String) } else { Err("unterminated raw string".to_owned()) }
    }

    /// Behind a backslash.
    fn escape(&mut self, quote: char) -> Result<(), String> {
        let (mut digits, radix) = match self.peek() {
            None => return Err("escape sequence not terminated".to_owned()),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => (0, 10),
            Some(c) if c == quote => (0, 10),
            Some('0'..='7') => (3, 8),
            Some('x') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some(c) => return Err(format!("unknown escape sequence {}", numbered(c))),
        };
        let (is_byte, mut code) = (digits < 4, 0);
        if radix != 8 {
            self.bump();
        }
        while digits > 0 {
            let next = self.bump().ok_or("escape sequence not terminated")?;
            let digit = next.to_digit(radix);
            code = code * radix as u64
                + u64::from(digit.ok_or_else(|| format!("illegal character {} in escape sequence", numbered(next)))?);
            digits -= 1;
        }
        let is_code =
            if is_byte { code <= 0xff } else { u32::try_from(code).is_ok_and(|c| char::from_u32(c).is_some()) };
        if is_code { Ok(()) } else { Err("escape sequence is an invalid Unicode code point".to_owned()) }
    }
}

/// In single quotes; the end of the input as Go writes a rune that is none.
fn quoted(c: Option<char>) -> String {
    match c.unwrap_or(char::REPLACEMENT_CHARACTER) {
        c @ ('\'' | '\\') => format!("'\\{c}'"),
        c if c.is_control() => format!("{c:?}"),
        c => format!("'{c}'"),
    }
}

/// `U+0064 'd'`
fn numbered(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// Before a range's first duration only what could be part of it may stand.
fn may_open_range(c: char) -> bool {
    c.is_ascii_digit() || "].:()+-*/%^".contains(c)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

pub(super) fn is_name_part(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind> {
        Tokens::of(source).list.iter().map(|token| token.kind).collect()
    }

    fn fault(source: &str) -> (u32, String) {
        let fault = Tokens::of(source).fault.expect("a fault");
        (fault.span.start, fault.text)
    }

    #[test]
    fn words_are_keywords_in_any_case_but_names_inside_braces() {
        assert_eq!(kinds("SUM"), [Kind::Aggregator(AggregateOp::Sum), Kind::End]);
        assert_eq!(kinds("a:b summer"), [Kind::MetricIdentifier, Kind::Identifier, Kind::End]);
        assert_eq!(kinds("{or")[..2], [Kind::LeftBrace, Kind::Identifier]);
        assert_eq!(kinds("1 # or 2\n 5m"), [Kind::Number, Kind::Duration, Kind::End]);
    }

    #[test]
    fn spans_count_bytes() {
        let tokens = Tokens::of("{\"ä\"} or b");
        let texts: Vec<_> = tokens.list.iter().map(|token| tokens.text(token.span)).collect();
        assert_eq!(texts, ["{", "\"ä\"", "}", "or", "b", ""]);
    }

    #[test]
    fn what_is_no_token_says_where() {
        assert_eq!(fault("a $ b"), (2, "unexpected character: '$'".to_owned()));
        assert_eq!(fault("a + (b"), (6, "unclosed left parenthesis".to_owned()));
        assert_eq!(fault("a{b=\"c"), (4, "unterminated quoted string".to_owned()));
        assert_eq!(fault(r#""a\d""#), (0, "unknown escape sequence U+0064 'd'".to_owned()));
        assert_eq!(fault(r#""\400""#).1, "escape sequence is an invalid Unicode code point");
        assert_eq!(fault("a[5m").1, "unclosed left bracket");
        assert_eq!(fault("b + !c"), (4, "unexpected character after '!': 'c'".to_owned()));
    }
}
