//! Tokens → tree, with Go's rules and in its words.
//!
//! Invariant: what this accepts has only functions that exist and variables that are declared before they are used; a
//! variable lives until the `{{end}}` of the control structure that it was declared in.

use std::collections::BTreeMap;

use super::functions::Function;
use super::lex::{Kind, Token, tokens};
use super::literal::{constant, unquote};
use super::node::{Branch, Command, Operand, OperandKind, Pipe, Statement, TemplateCall};
use super::value::Value;

/// How deep control structures and parentheses may stand in each other.
const NESTING_MAX: usize = 100;
/// The variable that is always there: what the template was given.
pub(super) const ROOT: &str = "$";

/// Why a template is none; the line counts from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) text: String,
}

/// The statements of a template, and those that it defines by name.
pub(super) struct Parsed {
    pub(super) body: Vec<Statement>,
    pub(super) defined: BTreeMap<String, Vec<Statement>>,
}

/// Reads the template called `name`.
pub(super) fn parse(name: &str, source: &str) -> Result<Parsed, Fault> {
    let mut parser = Parser {
        name,
        tokens: tokens(source),
        next: 0,
        furthest: 0,
        variables: vec![ROOT.to_owned()],
        ranges: 0,
        nesting: 0,
        action_line: 0,
        defined: BTreeMap::new(),
    };
    let mut body = Vec::new();
    while parser.peek().kind != Kind::Eof {
        if parser.is_definition() {
            parser.definition()?;
            continue;
        }
        match parser.text_or_action()? {
            Part::Statement(statement) => body.push(statement),
            Part::Else => return Err(parser.fault("unexpected {{else}}")),
            Part::End => return Err(parser.fault("unexpected {{end}}")),
        }
    }
    Ok(Parsed { body, defined: parser.defined })
}

struct Parser<'a> {
    name: &'a str,
    tokens: Vec<Token>,
    next: usize,
    /// The last token looked at: faults are placed on its line.
    furthest: usize,
    /// Declared and in scope.
    variables: Vec<String>,
    /// Ranges that are open here.
    ranges: usize,
    nesting: usize,
    /// Where the action began that is read.
    action_line: usize,
    defined: BTreeMap<String, Vec<Statement>>,
}

/// What stands next in a list of statements.
enum Part {
    Statement(Statement),
    Else,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    Range,
    With,
}

impl Control {
    fn word(self) -> &'static str {
        match self {
            Control::If => "if",
            Control::Range => "range",
            Control::With => "with",
        }
    }
}

impl Parser<'_> {
    fn token(&mut self, at: usize) -> &Token {
        let at = at.min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
        &self.tokens[at]
    }

    fn peek(&mut self) -> &Token {
        self.token(self.next)
    }

    fn take(&mut self) -> Token {
        let token = self.token(self.next).clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn peek_word(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    fn fault(&self, text: impl Into<String>) -> Fault {
        Fault { line: self.tokens[self.furthest].line, text: text.into() }
    }

    fn unexpected(&self, token: &Token, context: &str) -> Fault {
        if token.kind != Kind::Error {
            return self.fault(format!("unexpected {} in {context}", token.shown()));
        }
        if self.action_line == 0 || self.action_line == token.line {
            return self.fault(token.shown());
        }
        let place = if token.text.ends_with(" action") { " started at" } else { " in action started at" };
        self.fault(format!("{}{place} {}:{}", token.text, self.name, self.action_line))
    }

    fn expect_end(&mut self, context: &str) -> Result<(), Fault> {
        match self.take_word() {
            token if token.kind == Kind::RightDelim => Ok(()),
            token => Err(self.unexpected(&token, context)),
        }
    }

    /// Counts one level more around `inner`.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.fault(format!("nested more than {NESTING_MAX} deep")));
        }
        let outcome = inner(self)?;
        self.nesting -= 1;
        Ok(outcome)
    }

    fn is_definition(&mut self) -> bool {
        if self.peek().kind != Kind::LeftDelim {
            return false;
        }
        let start = self.next;
        self.next += 1;
        let is_definition = self.peek_word().kind == Kind::Define;
        self.next = start;
        is_definition
    }

    fn definition(&mut self) -> Result<(), Fault> {
        self.next += 1;
        self.take_word();
        let name = self.template_name("define clause")?;
        self.expect_end("define clause")?;
        let outer = std::mem::replace(&mut self.variables, vec![ROOT.to_owned()]);
        let body = self.nested(|parser| parser.list_to_end("define clause"))?;
        self.variables = outer;
        self.define(name, body);
        Ok(())
    }

    /// An empty template does not take the place of one with content.
    fn define(&mut self, name: String, body: Vec<Statement>) {
        let is_empty = body.iter().all(|one| matches!(one, Statement::Text(text) if text.trim().is_empty()));
        if !is_empty || !self.defined.contains_key(&name) {
            self.defined.insert(name, body);
        }
    }

    fn list_to_end(&mut self, context: &str) -> Result<Vec<Statement>, Fault> {
        match self.list()? {
            (body, true) => Ok(body),
            (_, false) => Err(self.fault(format!("unexpected {{{{else}}}} in {context}"))),
        }
    }

    /// Statements up to `{{end}}` (true) or `{{else}}` (false).
    fn list(&mut self) -> Result<(Vec<Statement>, bool), Fault> {
        let mut body = Vec::new();
        while self.peek_word().kind != Kind::Eof {
            match self.text_or_action()? {
                Part::Statement(statement) => body.push(statement),
                Part::End => return Ok((body, true)),
                Part::Else => return Ok((body, false)),
            }
        }
        Err(self.fault("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Part, Fault> {
        let token = self.take_word();
        match token.kind {
            Kind::Text => Ok(Part::Statement(Statement::Text(token.text))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let part = self.action();
                self.action_line = 0;
                part
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Part, Fault> {
        let start = self.next;
        let token = self.take_word();
        let statement = match token.kind {
            Kind::End => return self.expect_end("end").map(|()| Part::End),
            Kind::Else => {
                if !matches!(self.peek_word().kind, Kind::If | Kind::With) {
                    self.expect_end("else")?;
                }
                return Ok(Part::Else);
            }
            Kind::If => self.control(Control::If)?,
            Kind::Range => self.control(Control::Range)?,
            Kind::With => self.control(Control::With)?,
            Kind::Template => self.template()?,
            Kind::Block => self.block()?,
            Kind::Break | Kind::Continue => self.jump(&token)?,
            _ => {
                self.next = start;
                self.skip_space();
                Statement::Action(self.pipeline("command", Kind::RightDelim)?)
            }
        };
        Ok(Part::Statement(statement))
    }

    fn jump(&mut self, token: &Token) -> Result<Statement, Fault> {
        let context = format!("{{{{{}}}}}", token.text);
        self.expect_end(&context)?;
        if self.ranges == 0 {
            return Err(self.fault(format!("{context} outside {{{{range}}}}")));
        }
        Ok(if token.kind == Kind::Break { Statement::Break } else { Statement::Continue })
    }

    fn control(&mut self, control: Control) -> Result<Statement, Fault> {
        let declared = self.variables.len();
        let branch = self.nested(|parser| parser.branch(control))?;
        self.variables.truncate(declared);
        Ok(match control {
            Control::If => Statement::If(branch),
            Control::Range => Statement::Range(branch),
            Control::With => Statement::With(branch),
        })
    }

    fn branch(&mut self, control: Control) -> Result<Branch, Fault> {
        let pipe = self.pipeline(control.word(), Kind::RightDelim)?;
        self.ranges += usize::from(control == Control::Range);
        let list = self.list();
        self.ranges -= usize::from(control == Control::Range);
        let (body, is_ended) = list?;
        let otherwise = if is_ended { Vec::new() } else { self.otherwise(control)? };
        Ok(Branch { at: pipe.at, pipe, body, otherwise })
    }

    /// Behind `{{else`: `if` and `with` go on in it and share its end.
    fn otherwise(&mut self, control: Control) -> Result<Vec<Statement>, Fault> {
        let kind = self.peek_word().kind;
        match (control, kind) {
            (Control::If, Kind::If) | (Control::With, Kind::With) => {
                self.take();
                Ok(vec![self.control(control)?])
            }
            (_, Kind::If | Kind::With) => {
                let token = self.take();
                Err(self.unexpected(&token, "input"))
            }
            _ => match self.list()? {
                (body, true) => Ok(body),
                (_, false) => Err(self.fault("expected end; found {{else}}")),
            },
        }
    }

    fn template_name(&mut self, context: &str) -> Result<String, Fault> {
        let token = self.take_word();
        match token.kind {
            Kind::String | Kind::RawString => unquote(&token.text).ok_or_else(|| self.fault("invalid syntax")),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn template(&mut self) -> Result<Statement, Fault> {
        let at = self.peek_word().at;
        let name = self.template_name("template clause")?;
        let argument = match self.peek_word().kind {
            Kind::RightDelim => {
                self.take();
                None
            }
            _ => Some(self.pipeline("template clause", Kind::RightDelim)?),
        };
        Ok(Statement::Template(TemplateCall { at, name, argument }))
    }

    /// `{{block "name" pipe}}…{{end}}` defines a template and uses it at once.
    fn block(&mut self) -> Result<Statement, Fault> {
        let at = self.peek_word().at;
        let name = self.template_name("block clause")?;
        let argument = Some(self.pipeline("block clause", Kind::RightDelim)?);
        let outer = std::mem::replace(&mut self.variables, vec![ROOT.to_owned()]);
        let body = self.nested(|parser| parser.list_to_end("block clause"))?;
        self.variables = outer;
        self.define(name.clone(), body);
        Ok(Statement::Template(TemplateCall { at, name, argument }))
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, Fault> {
        let at = self.peek_word().at;
        let mut pipe = Pipe { at, is_assignment: false, variables: Vec::new(), commands: Vec::new() };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.peek_word().clone();
            if token.kind == end {
                self.take();
                return self.checked(pipe, context);
            }
            if !starts_operand(token.kind) {
                self.take();
                return Err(self.unexpected(&token, context));
            }
            pipe.commands.push(self.command()?);
        }
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<(), Fault> {
        while self.peek_word().kind == Kind::Variable {
            let start = self.next;
            let variable = self.take().text;
            let sign = self.peek_word().clone();
            match sign.kind {
                Kind::Assign | Kind::Declare => {
                    self.take();
                    pipe.is_assignment = sign.kind == Kind::Assign;
                    self.declare(variable, pipe);
                    return Ok(());
                }
                Kind::Char if sign.text == "," => {
                    self.take();
                    self.declare(variable, pipe);
                    if context != "range" || pipe.variables.len() > 1 {
                        return Err(self.fault(format!("too many declarations in {context}")));
                    }
                    if !matches!(self.peek_word().kind, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        return Err(self.fault("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, variable: String, pipe: &mut Pipe) {
        self.variables.push(variable.clone());
        pipe.variables.push(variable);
    }

    fn checked(&self, pipe: Pipe, context: &str) -> Result<Pipe, Fault> {
        if pipe.commands.is_empty() {
            return Err(self.fault(format!("missing value for {context}")));
        }
        let is_value = |command: &Command| {
            matches!(command.operands[0].kind, OperandKind::Dot | OperandKind::Nil | OperandKind::Constant(..))
        };
        match pipe.commands.iter().skip(1).position(is_value) {
            Some(at) => Err(self.fault(format!("non executable command in pipeline stage {}", at + 2))),
            None => Ok(pipe),
        }
    }

    fn command(&mut self) -> Result<Command, Fault> {
        let at = self.peek_word().at;
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            operands.extend(self.operand()?);
            match self.peek().kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => break,
                Kind::Pipe => {
                    self.take();
                    break;
                }
                _ => {
                    let token = self.take();
                    return Err(self.unexpected(&token, "operand"));
                }
            }
        }
        if operands.is_empty() {
            return Err(self.fault("empty command"));
        }
        Ok(Command { at, operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        let shown = operand.to_string();
        match &mut operand.kind {
            OperandKind::Field(own) | OperandKind::Variable(_, own) => own.append(&mut fields),
            OperandKind::Dot | OperandKind::Nil | OperandKind::Constant(..) => {
                return Err(self.fault(format!("unexpected . after term {}", super::literal::quote(&shown))));
            }
            _ => return Ok(Some(Operand { at, kind: OperandKind::Chain(Box::new(operand), fields) })),
        }
        Ok(Some(Operand { at, ..operand }))
    }

    fn term(&mut self) -> Result<Option<Operand>, Fault> {
        let token = self.peek().clone();
        if !starts_operand(token.kind) {
            return Ok(None);
        }
        self.take();
        let text = token.text;
        let kind = match token.kind {
            Kind::LeftParen => {
                let pipe = self.nested(|parser| parser.pipeline("parenthesized pipeline", Kind::RightParen))?;
                return Ok(Some(Operand { at: pipe.at, kind: OperandKind::Pipe(pipe) }));
            }
            Kind::Identifier if Function::by_name(&text).is_none() => {
                return Err(self.fault(format!("function {} not defined", super::literal::quote(&text))));
            }
            Kind::Identifier => OperandKind::Identifier(text),
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Field => OperandKind::Field(vec![text[1..].to_owned()]),
            Kind::Variable if !self.variables.contains(&text) => {
                return Err(self.fault(format!("undefined variable {}", super::literal::quote(&text))));
            }
            Kind::Variable => OperandKind::Variable(text, Vec::new()),
            Kind::Bool => OperandKind::Constant(Value::Bool(text == "true"), text),
            Kind::String | Kind::RawString => match unquote(&text) {
                Some(value) => OperandKind::Constant(Value::from(value), text),
                None => return Err(self.fault("invalid syntax")),
            },
            _ => match constant(&text) {
                Ok(value) => OperandKind::Constant(value, text),
                Err(fault) => return Err(self.fault(fault)),
            },
        };
        Ok(Some(Operand { at: token.at, kind }))
    }
}

fn starts_operand(kind: Kind) -> bool {
    use Kind::*;
    matches!(
        kind,
        Bool | CharConstant | Dot | Field | Identifier | LeftParen | Nil | Number | RawString | String | Variable
    )
}
