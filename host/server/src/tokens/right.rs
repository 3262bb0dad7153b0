//! What tokens allow: at a tenant, and at the admin listener.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A right that a token can have.
pub trait TokenRight: Copy + fmt::Debug + fmt::Display + Eq + FromStr + 'static {
    /// Every right.
    const ALL: &'static [Self];

    /// Who asks for such a token, in a sentence.
    const OF: &'static str;

    /// The section of the file in which such tokens stand.
    const SECTION: &'static str;

    /// One bit, which no other right has.
    fn bit(self) -> u8;

    /// The right as it is written in a file.
    fn label(self) -> &'static str;
}

/// The rights in words, as in "read, names and write"; `last` stands before the last one.
pub fn list<R: TokenRight>(last: &str) -> String {
    let labels: Vec<_> = R::ALL.iter().map(|right| right.label()).collect();
    match labels.as_slice() {
        [before @ .., end] if !before.is_empty() => format!("{} {last} {end}", before.join(", ")),
        all => all.concat(),
    }
}

/// The text is not a right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a right is {0}")]
pub struct InvalidRight(String);

/// Declares the rights of one kind of tokens.
macro_rules! rights {
    ($(#[$about:meta])* $Right:ident, $of:literal, $section:literal, { $($(#[$says:meta])* $Variant:ident = $bit:literal, $label:literal;)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        pub enum $Right {
            $($(#[$says])* #[serde(rename = $label)] $Variant,)+
        }

        impl TokenRight for $Right {
            const ALL: &'static [Self] = &[$(Self::$Variant),+];
            const OF: &'static str = $of;
            const SECTION: &'static str = $section;

            fn bit(self) -> u8 {
                match self {
                    $(Self::$Variant => $bit,)+
                }
            }

            fn label(self) -> &'static str {
                match self {
                    $(Self::$Variant => $label,)+
                }
            }
        }

        impl fmt::Display for $Right {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }

        impl FromStr for $Right {
            type Err = InvalidRight;

            fn from_str(text: &str) -> Result<Self, InvalidRight> {
                let mut all = Self::ALL.iter().copied();
                all.find(|right| right.label() == text)
                    .ok_or_else(|| InvalidRight(list::<Self>("or")))
            }
        }
    };
}

rights! {
    /// What a token of a tenant allows.
    Right, "this tenant", "tokens", {
        /// Register a name.
        Register = 1, "register";
        /// Find the registration of a name.
        Find = 2, "find";
        /// Free a name.
        Free = 4, "free";
        /// Change the registration of a name.
        Update = 8, "update";
        /// List registrations.
        List = 16, "list";
        /// Follow the tenant's log.
        Log = 32, "log";
    }
}

rights! {
    /// What a token of the admin listener allows.
    AdminRight, "the admin listener", "admin.tokens", {
        /// See what the host does.
        Read = 1, "read";
        /// See the names that are locked, too, and not only their digests.
        Names = 2, "names";
        /// Steer the host: end leases, disable tenants, change the log, stop it.
        Write = 4, "write";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<R: TokenRight<Err = InvalidRight>>(expect: &str) {
        let mut bits = 0;
        for right in R::ALL {
            assert_eq!(right.label().parse(), Ok(*right));
            assert_eq!(bits & right.bit(), 0, "{right} has a bit of its own");
            bits |= right.bit();
        }
        assert_eq!("fly".parse::<R>().unwrap_err().to_string(), expect);
    }

    #[test]
    fn every_right_is_read_as_it_is_written() {
        check::<Right>("a right is register, find, free, update, list or log");
        check::<AdminRight>("a right is read, names or write");
    }
}
