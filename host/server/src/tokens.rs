//! The bearer tokens that decide who may call a tenant, and who may use the admin listener. They differ in their rights
//! ([`right`]) and are the same in all else.
//!
//! A file holds the SHA-256 of each secret, never the secret. A secret is 256 random bits, so a plain hash is enough: there
//! is nothing to guess, and a slow hash would only make refusals expensive.
//!
//! The hash of the secret that a caller presents is compared with those of all tokens of one list, each in constant time and
//! none left out, so the time of an answer reveals nothing about how close a guess was. A token is looked up in the list of
//! the tenant that is called, or in that of the admin listener: nobody else knows it.

pub mod right;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use self::right::TokenRight;
use crate::hex::{from_hex, hex};

/// Most tokens of one list; each costs a comparison in every request.
const TOKENS_MAX: usize = 64;

/// Longest `Authorization` header that is read, in bytes.
const HEADER_MAX: usize = 256;

/// The prefix of every secret, so that a leaked one can be recognised.
const PREFIX: &str = "nlk_";

/// Length of the random part of a secret, in bytes.
const SECRET_BYTES: usize = 32;

/// One token as it is written in a file, not yet validated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSection<R> {
    name: String,
    sha256: String,
    rights: Vec<R>,
}

impl<R: TokenRight> fmt::Display for TokenSection<R> {
    /// Writes it as an inline table of TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rights: Vec<_> = self.rights.iter().map(|right| right.label()).collect();
        let Self { name, sha256, .. } = self;
        write!(f, "{{ name = {name:?}, sha256 = {sha256:?}, rights = {rights:?} }}")
    }
}

/// Leaves the hash out: it is no secret, but nobody needs it in a log.
impl<R: fmt::Debug> fmt::Debug for TokenSection<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSection")
            .field("name", &self.name)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the tokens of a file.
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
    #[error("`{name}` has no rights; write some of {rights}")]
    NoRights {
        /// The token.
        name: String,
        /// The rights that there are.
        rights: String,
    },
}

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied<R: TokenRight> {
    /// It has no token, or a header that cannot be one.
    #[error("{} requires a token; send it as Authorization: Bearer SECRET", R::OF)]
    Missing,
    /// Its token is not among those of the list.
    #[error("{} does not know this token", R::OF)]
    Unknown,
    /// Its token does not have this right.
    #[error("this token does not have the right to {0}")]
    Right(R),
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

/// The tokens of one list; none means that anybody may do anything.
#[derive(Clone, Debug)]
pub struct Tokens<R>(Vec<Token<R>>);

impl<R> Default for Tokens<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A token that is known.
#[derive(Clone)]
pub struct Token<R> {
    /// Its name, as in the file.
    pub name: Arc<str>,
    sha256: [u8; 32],
    /// What it allows.
    pub rights: Rights<R>,
}

/// Some rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights<R> {
    /// The sum of their [`TokenRight::bit`]s.
    bits: u8,
    of: PhantomData<R>,
}

impl<R: TokenRight> Rights<R> {
    /// Every right.
    pub fn all() -> Self {
        R::ALL.iter().copied().collect()
    }

    /// Whether this right is among them.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn check(self, right: R) -> Result<(), Denied<R>> {
        if self.bits & right.bit() == 0 {
            return Err(Denied::Right(right));
        }
        Ok(())
    }
}

impl<R: TokenRight> FromIterator<R> for Rights<R> {
    fn from_iter<I: IntoIterator<Item = R>>(rights: I) -> Self {
        Self {
            bits: rights.into_iter().fold(0, |sum, right| sum | right.bit()),
            of: PhantomData,
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for Token<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

impl<R: TokenRight> Tokens<R> {
    /// Validates the tokens of a file; an error has what is wrong with each of them.
    pub fn new(sections: Vec<TokenSection<R>>) -> Result<Self, Vec<InvalidTokens>> {
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
    fn check_new(&self, TokenSection { name, sha256, rights }: TokenSection<R>) -> Result<Token<R>, InvalidTokens> {
        if !is_name(&name) {
            return Err(InvalidTokens::Name(name));
        }
        if self.0.iter().any(|token| *token.name == *name) {
            return Err(InvalidTokens::Twice(name));
        }
        let Some(sha256) = from_hex(&sha256).and_then(|bytes| bytes.try_into().ok()) else {
            return Err(InvalidTokens::Hash(name));
        };
        if self.0.iter().any(|token| token.sha256 == sha256) {
            return Err(InvalidTokens::SameSecret(name));
        }
        if rights.is_empty() {
            return Err(no_rights::<R>(&name));
        }
        Ok(Token {
            name: name.into(),
            sha256,
            rights: rights.into_iter().collect(),
        })
    }

    /// Whether anybody may do anything.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that a request with these headers has the right.
    ///
    /// # Errors
    ///
    /// Why it has not.
    // Keeps P7: a request without the right is refused before its body is read or anything is locked.
    pub fn check(&self, headers: &HeaderMap, right: R) -> Result<(), Denied<R>> {
        match self.find(headers)? {
            Some(known) => known.rights.check(right),
            None => Ok(()),
        }
    }

    /// Finds the token of a request with these headers; none: there are no tokens, and anybody may do anything.
    ///
    /// # Errors
    ///
    /// It has none, or one that is not known.
    pub fn find(&self, headers: &HeaderMap) -> Result<Option<&Token<R>>, Denied<R>> {
        if self.is_open() {
            return Ok(None);
        }
        self.find_presented(&Presented::of(headers)).map(Some)
    }

    /// Checks that whoever has presented this has the right, also when the tokens have changed since.
    ///
    /// # Errors
    ///
    /// Why he has not.
    pub fn check_presented(&self, presented: &Presented, right: R) -> Result<(), Denied<R>> {
        if self.is_open() {
            return Ok(());
        }
        self.find_presented(presented)?.rights.check(right)
    }

    fn find_presented(&self, presented: &Presented) -> Result<&Token<R>, Denied<R>> {
        let presented = presented.0.ok_or(Denied::Missing)?;
        let (mut known, mut place) = (Choice::from(0), 0);
        for (index, token) in (0..).zip(&self.0) {
            let same = token.sha256.ct_eq(&presented);
            known |= same;
            place = u8::conditional_select(&place, &index, same);
        }
        if !bool::from(known) {
            return Err(Denied::Unknown);
        }
        self.0.get(usize::from(place)).ok_or(Denied::Unknown)
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

fn no_rights<R: TokenRight>(name: &str) -> InvalidTokens {
    InvalidTokens::NoRights {
        name: name.to_owned(),
        rights: right::list::<R>("and"),
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// A token that was just made and not shown to anybody yet.
pub struct NewToken<R> {
    secret: String,
    name: String,
    rights: Vec<R>,
}

impl<R: TokenRight> NewToken<R> {
    /// Makes a token with a secret from the operating system's random number generator.
    pub fn make(name: &str, rights: &[R]) -> Result<Self, NewTokenError> {
        if !is_name(name) {
            return Err(InvalidTokens::Name(name.to_owned()).into());
        }
        if rights.is_empty() {
            return Err(no_rights::<R>(name).into());
        }
        let mut random = [0; SECRET_BYTES];
        SysRng.try_fill_bytes(&mut random)?;
        Ok(Self {
            secret: format!("{PREFIX}{}", hex(&random)),
            name: name.to_owned(),
            rights: rights.to_vec(),
        })
    }

    /// The text that is printed once: the secret on a line of its own, for the caller, then the lines for the file.
    pub fn text(&self) -> String {
        let rights: Vec<_> = self.rights.iter().map(|right| format!("\"{right}\"")).collect();
        format!(
            "{}\n\n[[{}]]\nname = \"{}\"\nsha256 = \"{}\"\nrights = [{}]\n",
            self.secret,
            R::SECTION,
            self.name,
            hex(&Sha256::digest(&self.secret)),
            rights.join(", ")
        )
    }
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewTokenError {
    /// It would be refused in a file.
    #[error(transparent)]
    Invalid(#[from] InvalidTokens),
    /// The operating system gives no random numbers.
    #[error("cannot get random numbers")]
    Random(#[from] SysError),
}

#[cfg(test)]
mod tests;
