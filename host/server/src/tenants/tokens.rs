//! The bearer tokens that decide who may call a tenant.
//!
//! A `tenant.toml` holds the SHA-256 of each secret, never the secret. A secret is 256 random bits, so a plain hash is
//! enough: there is nothing to guess, and a slow hash would only make refusals expensive.
//!
//! The hash of the secret that a caller presents is compared with those of all the tenant's tokens, each in constant
//! time and none left out, so the time of an answer reveals nothing about how close a guess was. A token is looked up
//! under its own tenant only: every other tenant does not know it.

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::hex::{from_hex, hex};

/// Most tokens of one tenant; each costs a comparison in every request.
const TOKENS_MAX: usize = 64;

/// Longest `Authorization` header that is read, in bytes.
const HEADER_MAX: usize = 256;

/// The prefix of every secret, so that a leaked one can be recognised.
const PREFIX: &str = "nlk_";

/// Length of the random part of a secret, in bytes.
const SECRET_BYTES: usize = 32;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Right {
    /// Register a name.
    Register = 1,
    /// Find the registration of a name.
    Find = 2,
    /// Free a name.
    Free = 4,
    /// Change the registration of a name.
    Update = 8,
    /// List registrations.
    List = 16,
    /// Follow the tenant's log.
    Log = 32,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 6] = [
        Self::Register,
        Self::Find,
        Self::Free,
        Self::Update,
        Self::List,
        Self::Log,
    ];

    /// The right as written in a `tenant.toml`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Find => "find",
            Self::Free => "free",
            Self::Update => "update",
            Self::List => "list",
            Self::Log => "log",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The text is not a right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a right is register, find, free, update, list or log")]
pub struct InvalidRight;

impl FromStr for Right {
    type Err = InvalidRight;

    fn from_str(text: &str) -> Result<Self, InvalidRight> {
        Self::ALL
            .into_iter()
            .find(|right| right.label() == text)
            .ok_or(InvalidRight)
    }
}

/// One `[[tokens]]` of a `tenant.toml`, not yet validated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSection {
    name: String,
    sha256: String,
    rights: Vec<Right>,
}

/// Leaves the hash out: it is no secret, but nobody needs it in a log.
impl fmt::Debug for TokenSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSection")
            .field("name", &self.name)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the tokens of a `tenant.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokens {
    /// There are more tokens than a request should be compared with.
    #[error("{0} tokens are too many; at most {TOKENS_MAX}")]
    TooMany(usize),
    /// A name is not valid.
    #[error("`{0}` is not a name; write 1 to 64 letters, digits, `.`, `_` or `-`")]
    Name(String),
    /// A name is used twice.
    #[error("the name `{0}` is used twice; give each token a different name")]
    Twice(String),
    /// Two tokens have the same secret, so its rights would be ambiguous.
    #[error("`{0}` has the same secret as another token; make a new one with `namelock token new`")]
    SameSecret(String),
    /// A hash is not valid. The message does not repeat it: it may be the secret itself.
    #[error("the sha256 of `{0}` is not 64 hexadecimal digits; make a new token with `namelock token new`")]
    Hash(String),
    /// A token has no rights.
    #[error("`{0}` has no rights; write some of register, find, free, update, list and log")]
    NoRights(String),
}

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has no token, or a header that cannot be one.
    #[error("this tenant requires a token; send it as Authorization: Bearer SECRET")]
    Missing,
    /// The tenant does not know its token.
    #[error("this tenant does not know this token")]
    Unknown,
    /// Its token does not have this right.
    #[error("this token does not have the right to {0}")]
    Right(Right),
}

/// What a request has presented to show its rights: the hash of a secret, or nothing that could be one.
#[derive(Clone)]
pub struct Presented(Option<[u8; 32]>);

impl Presented {
    /// Reads it from the headers of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(secret_of(headers).map(|secret| Sha256::digest(secret).into()))
    }
}

/// The tokens of one tenant; none means that anybody may call it.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    name: String,
    sha256: [u8; 32],
    /// The sum of its [`Right`]s.
    rights: u8,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Validates the tokens of a `tenant.toml`; an error has what is wrong with each of them.
    pub fn new(sections: Vec<TokenSection>) -> Result<Self, Vec<InvalidTokens>> {
        if sections.len() > TOKENS_MAX {
            return Err(vec![InvalidTokens::TooMany(sections.len())]);
        }
        let (mut tokens, mut wrong) = (Self::default(), Vec::new());
        for section in sections {
            match tokens.check_new(section) {
                Ok(token) => tokens.0.push(token),
                Err(error) => wrong.push(error),
            }
        }
        if wrong.is_empty() { Ok(tokens) } else { Err(wrong) }
    }

    /// Validates one more token.
    fn check_new(&self, TokenSection { name, sha256, rights }: TokenSection) -> Result<Token, InvalidTokens> {
        if !is_name(&name) {
            return Err(InvalidTokens::Name(name));
        }
        if self.0.iter().any(|token| token.name == name) {
            return Err(InvalidTokens::Twice(name));
        }
        let Some(sha256) = from_hex(&sha256).and_then(|bytes| bytes.try_into().ok()) else {
            return Err(InvalidTokens::Hash(name));
        };
        if self.0.iter().any(|token| token.sha256 == sha256) {
            return Err(InvalidTokens::SameSecret(name));
        }
        let rights = rights.into_iter().fold(0, |sum, right| sum | right as u8);
        if rights == 0 {
            return Err(InvalidTokens::NoRights(name));
        }
        Ok(Token { name, sha256, rights })
    }

    /// Whether anybody may call this tenant.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that a request with these headers has the right.
    // Keeps P7: a request without the right is refused before its body is read or anything is locked.
    pub fn check(&self, headers: &HeaderMap, right: Right) -> Result<(), Denied> {
        if self.is_open() {
            return Ok(());
        }
        self.check_presented(&Presented::of(headers), right)
    }

    /// Checks that whoever has presented this has the right, also when the tokens have changed since.
    pub fn check_presented(&self, presented: &Presented, right: Right) -> Result<(), Denied> {
        if self.is_open() {
            return Ok(());
        }
        let presented = presented.0.ok_or(Denied::Missing)?;
        let (mut known, mut rights) = (Choice::from(0), 0);
        for token in &self.0 {
            let same = token.sha256.ct_eq(&presented);
            known |= same;
            rights |= u8::conditional_select(&0, &token.rights, same);
        }
        match (bool::from(known), rights & right as u8) {
            (false, _) => Err(Denied::Unknown),
            (true, 0) => Err(Denied::Right(right)),
            (true, _) => Ok(()),
        }
    }
}

/// The secret after `Bearer ` (RFC 6750); none if there are two such headers, because two readers might choose
/// differently.
fn secret_of(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.as_bytes();
    if value.len() > HEADER_MAX {
        return None;
    }
    let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
    let secret = secret.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !secret.is_empty()).then_some(secret)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// A token that was just made and not shown to anybody yet.
pub struct NewToken {
    secret: String,
    name: String,
    rights: Vec<Right>,
}

impl NewToken {
    /// Makes a token with a secret from the operating system's random number generator.
    pub fn make(name: &str, rights: &[Right]) -> Result<Self, NewTokenError> {
        if !is_name(name) {
            return Err(InvalidTokens::Name(name.to_owned()).into());
        }
        if rights.is_empty() {
            return Err(InvalidTokens::NoRights(name.to_owned()).into());
        }
        let mut random = [0; SECRET_BYTES];
        SysRng.try_fill_bytes(&mut random)?;
        Ok(Self {
            secret: format!("{PREFIX}{}", hex(&random)),
            name: name.to_owned(),
            rights: rights.to_vec(),
        })
    }

    /// The text that is printed once: the secret on a line of its own, for the caller, then the lines for the
    /// `tenant.toml`.
    pub fn text(&self) -> String {
        let rights: Vec<_> = self.rights.iter().map(|right| format!("\"{right}\"")).collect();
        format!(
            "{}\n\n[[tokens]]\nname = \"{}\"\nsha256 = \"{}\"\nrights = [{}]\n",
            self.secret,
            self.name,
            hex(&Sha256::digest(&self.secret)),
            rights.join(", ")
        )
    }
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewTokenError {
    /// It would be refused in a `tenant.toml`.
    #[error(transparent)]
    Invalid(#[from] InvalidTokens),
    /// The operating system gives no random numbers.
    #[error("cannot get random numbers")]
    Random(#[from] SysError),
}

#[cfg(test)]
mod tests;
