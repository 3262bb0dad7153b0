//! The secret of an operator: from a file or the environment, never from the command line, which every user of the machine sees.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::source::ConfigError;

/// The variable of the environment that has the secret.
pub(super) const VARIABLE: &str = "NAMELOCK_ADMIN_TOKEN";

/// Longest secret, in bytes; those that are made here are shorter.
const SECRET_MAX: u64 = 200;

/// A secret, which is in no error and no debug output.
#[derive(Clone)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the secret in a file, or else that in the environment; none: there is none.
    pub(super) fn find(file: Option<&Path>, variable: Option<OsString>) -> Result<Option<Self>, ConfigError> {
        if let Some(path) = file {
            let mut text = String::new();
            let place = path.display().to_string();
            let wrong = |error| ConfigError::new(&place, format!("cannot read the token: {error}; check --token-file"));
            let file = File::open(path).map_err(wrong)?;
            file.take(2 * SECRET_MAX).read_to_string(&mut text).map_err(wrong)?;
            return Self::parse(&text, &place).map(Some);
        }
        let variable = variable.filter(|text| !text.is_empty());
        variable
            .map(|text| Self::parse(&text.to_string_lossy(), VARIABLE))
            .transpose()
    }

    fn parse(text: &str, place: &str) -> Result<Self, ConfigError> {
        let secret = text.trim();
        let is_token =
            (1..=SECRET_MAX).contains(&(secret.len() as u64)) && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            let problem =
                "this is no token; write the secret, and nothing else, that `namelock token new --admin` prints first";
            return Err(ConfigError::new(place, problem));
        }
        Ok(Self(secret.to_owned()))
    }

    /// The secret itself, for the request that has it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_wins_over_one_in_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nlk_file\n").unwrap();
        let find = |file, variable: Option<&str>| Token::find(file, variable.map(OsString::from)).unwrap();
        let secret = |found: Option<Token>| found.map(|token| token.0);
        assert_eq!(
            secret(find(Some(file.path()), Some("nlk_env"))).as_deref(),
            Some("nlk_file")
        );
        assert_eq!(secret(find(None, Some("nlk_env"))).as_deref(), Some("nlk_env"));
        assert_eq!(secret(find(None, Some(""))), None);
        assert_eq!(secret(find(None, None)), None);
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        for wrong in ["nlk_a nlk_b", "nlk_a\r\nx: y", &"x".repeat(201), "nlk_é", " "] {
            let error = Token::find(None, Some(wrong.into())).unwrap_err().to_string();
            assert!(error.starts_with("NAMELOCK_ADMIN_TOKEN: this is no token"), "{error}");
            assert!(!error.contains("nlk_") && !error.contains("xx"), "{error}");
        }
        let error = Token::find(Some(Path::new("/no/such/file")), None).unwrap_err();
        assert!(error.to_string().contains("check --token-file"), "{error}");
        assert_eq!(format!("{:?}", Token("nlk_a".into())), "Token");
    }
}
