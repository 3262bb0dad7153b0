//! The commands that are sent to memcached, and what its replies mean.
//!
//! They are meta commands (memcached's `doc/protocol.txt`); the crate `memcache` writes and reads them.

use memcache::exp::{
    ArithmeticOptions, DeleteOptions, Error, GetOptions, MetaCommand, MetaCommandResult, ReturnCode, SetMode,
    SetOptions, build_arithmetic, build_delete, build_get, build_set,
};

/// A CAS that no item has: the server would have to count for thousands of years.
const UNUSED_CAS: u64 = u64::MAX;

/// One thing to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Creates the item if there is none, and leaves it alone if there is one. A time to live of 0 means for ever.
    Add { ttl_seconds: u32, value: u64 },
    /// Gives the item its full time again, if it has this CAS.
    Renew { ttl_seconds: u32, cas: u64 },
    /// Puts this value where the item with this CAS is, for its full time.
    HandOver { ttl_seconds: u32, value: u64, cas: u64 },
    /// Deletes the item, if it has this CAS.
    Delete { cas: u64 },
    /// Deletes the item, whoever's it is: the owner check is removed.
    DeleteUnchecked,
    /// Asks what the item is, without counting as a use of it.
    Look,
    /// The same, and for how long it was not used.
    LookAtAge,
    /// Asks for the CAS of the item alone.
    LookAtCas,
}

/// What to do with an item whose value is a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextCommand<'a> {
    /// Asks what it is, without counting as a use.
    Look,
    /// Creates it, to last for ever, if there is none. For want of memory the server may delete the one that is there
    /// (`proto_text.c`), so nothing must depend on it that cannot be made again.
    Add(&'a str),
    /// Puts this text where the one with this CAS is.
    Replace { text: &'a str, cas: u64 },
}

/// An item whose value is a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) cas: u64,
    /// For how many seconds of the server's clock it was not used.
    pub(super) age: u32,
}

/// What the server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The command was executed; the item's CAS is now this one (0 after a delete).
    Done { cas: u64 },
    /// There is an item, and its CAS is another.
    Mismatch,
    /// There is no item.
    Missing,
    /// This is the item.
    Item {
        /// None: the value is not a number, so the item is not ours but some other client's lock.
        value: Option<u64>,
        cas: u64,
        /// None: the item does not expire.
        seconds_left: Option<u32>,
        /// For how long it was not used, where that was asked.
        age: Option<u32>,
    },
}

impl Command {
    /// Appends the command to `payload`, with the opaque number that its reply echoes.
    pub(super) fn encode(self, key: &str, opaque: usize, payload: &mut Vec<u8>) -> Result<(), Error> {
        self.build(key, opaque.to_string().into_bytes())?.encode_into(payload)
    }

    fn build(self, key: &str, opaque: Vec<u8>) -> Result<MetaCommand, Error> {
        let opaque = Some(opaque);
        match self {
            Self::Add { ttl_seconds, value } => {
                let mut options = ArithmeticOptions::default();
                options.initial_ttl = Some(ttl_seconds);
                options.initial = Some(value);
                options.delta = Some(0);
                options.compare_cas = Some(UNUSED_CAS);
                options.return_cas = true;
                options.return_value = false;
                options.opaque = opaque;
                build_arithmetic(key, &options)
            }
            Self::Renew { ttl_seconds, cas } => {
                let mut options = ArithmeticOptions::default();
                options.delta = Some(0);
                options.ttl = Some(ttl_seconds);
                options.compare_cas = Some(cas);
                options.return_cas = true;
                options.return_value = false;
                options.opaque = opaque;
                build_arithmetic(key, &options)
            }
            Self::HandOver {
                ttl_seconds,
                value,
                cas,
            } => {
                let mut options = SetOptions::default();
                options.ttl = Some(ttl_seconds);
                options.compare_cas = Some(cas);
                options.return_cas = true;
                options.opaque = opaque;
                build_set(key, value.to_string(), &options)
            }
            Self::Delete { cas } => {
                let mut options = DeleteOptions::default();
                options.compare_cas = Some(cas);
                options.opaque = opaque;
                build_delete(key, &options)
            }
            Self::DeleteUnchecked => {
                let mut options = DeleteOptions::default();
                options.opaque = opaque;
                build_delete(key, &options)
            }
            Self::Look | Self::LookAtAge => {
                let mut options = GetOptions::default();
                options.value = true;
                options.return_cas = true;
                options.return_ttl = true;
                options.return_last_access = self == Self::LookAtAge;
                options.no_lru_bump = true;
                options.opaque = opaque;
                build_get(key, &options)
            }
            Self::LookAtCas => {
                let mut options = GetOptions::default();
                options.value = false;
                options.return_cas = true;
                options.no_lru_bump = true;
                options.opaque = opaque;
                build_get(key, &options)
            }
        }
    }
}

impl TextCommand<'_> {
    pub(super) fn encode(self, key: &str, payload: &mut Vec<u8>) -> Result<(), Error> {
        let set = |text: &str, mode, cas| {
            let mut options = SetOptions::default();
            options.mode = mode;
            options.compare_cas = cas;
            build_set(key, text, &options)
        };
        let command = match self {
            Self::Look => {
                let mut options = GetOptions::default();
                options.value = true;
                options.return_cas = true;
                options.return_last_access = true;
                options.no_lru_bump = true;
                build_get(key, &options)
            }
            Self::Add(text) => set(text, SetMode::Add, None),
            Self::Replace { text, cas } => set(text, SetMode::Set, Some(cas)),
        };
        command?.encode_into(payload)
    }
}

/// Reads the reply to a [`TextCommand`]; none unless it is the item.
pub(super) fn decode_text(reply: MetaCommandResult) -> Option<Text> {
    match reply.rc {
        ReturnCode::Va => Some(Text {
            value: String::from_utf8_lossy(&reply.value.unwrap_or_default()).into_owned(),
            cas: reply.cas.unwrap_or(0),
            age: reply.last_access.and_then(|age| u32::try_from(age).ok()).unwrap_or(0),
        }),
        _ => None,
    }
}

/// Reads the reply to the command with this opaque number. Any other number means that commands and replies are out of
/// step.
pub(super) fn decode(result: MetaCommandResult, opaque: usize) -> Result<Reply, Error> {
    let echoed = result
        .opaque
        .as_deref()
        .and_then(|echoed| std::str::from_utf8(echoed).ok()?.parse().ok());
    if echoed != Some(opaque) {
        return Err(Error::Protocol(format!(
            "the reply to command {opaque} carries the opaque {echoed:?}"
        )));
    }
    match result.rc {
        ReturnCode::Hd => Ok(Reply::Done {
            cas: result.cas.unwrap_or(0),
        }),
        ReturnCode::Ex => Ok(Reply::Mismatch),
        ReturnCode::Nf | ReturnCode::En => Ok(Reply::Missing),
        ReturnCode::Va => Ok(Reply::Item {
            // An incremented number may be padded with blanks (protocol.txt, "decr").
            value: result
                .value
                .and_then(|value| std::str::from_utf8(&value).ok()?.trim_end().parse().ok()),
            cas: result.cas.unwrap_or(0),
            seconds_left: result.ttl.and_then(|ttl| u32::try_from(ttl).ok()),
            age: result.last_access.and_then(|age| u32::try_from(age).ok()),
        }),
        other => Err(Error::Protocol(format!(
            "{other:?} is not a reply to a command of the lock"
        ))),
    }
}

/// Reads any bytes as a reply line, for a fuzz target.
#[cfg(fuzzing)]
pub fn fuzz_reply(line: &[u8]) {
    use memcache::exp::{MetaResponse, parse_meta_result};

    if let Ok(result) = MetaResponse::parse_header(line).and_then(parse_meta_result) {
        let _ = decode(result, 7);
    }
}

#[cfg(test)]
mod tests {
    use memcache::exp::{MetaResponse, parse_meta_result};
    use proptest::prelude::*;

    use super::*;

    fn check(command: Command, expect: &str) {
        let mut payload = Vec::new();
        command.encode("namelock:t:k", 7, &mut payload).unwrap();
        assert_eq!(String::from_utf8(payload).unwrap(), format!("{expect}\r\n"));
    }

    #[test]
    fn each_command_is_one_line() {
        let add = Command::Add {
            ttl_seconds: 13,
            value: 5,
        };
        check(add, "ma namelock:t:k c D0 N13 J5 C18446744073709551615 O7");
        let renew = Command::Renew {
            ttl_seconds: 13,
            cas: 9,
        };
        check(renew, "ma namelock:t:k c D0 T13 C9 O7");
        let hand_over = Command::HandOver {
            ttl_seconds: 13,
            value: 12345,
            cas: 9,
        };
        check(hand_over, "ms namelock:t:k 5 c T13 C9 O7\r\n12345");
        check(Command::Delete { cas: 9 }, "md namelock:t:k C9 O7");
        check(Command::Look, "mg namelock:t:k v c t u O7");
        check(Command::LookAtAge, "mg namelock:t:k v c t l u O7");
        check(Command::LookAtCas, "mg namelock:t:k c u O7");
        let text = |command: TextCommand<'_>, expect: &str| {
            let mut payload = Vec::new();
            command.encode("namelock:@fleet", &mut payload).unwrap();
            assert_eq!(String::from_utf8(payload).unwrap(), expect);
        };
        text(TextCommand::Look, "mg namelock:@fleet v c l u\r\n");
        text(TextCommand::Add("1 a"), "ms namelock:@fleet 3 ME\r\n1 a\r\n");
        let replace = TextCommand::Replace { text: "1 a", cas: 9 };
        text(replace, "ms namelock:@fleet 3 C9\r\n1 a\r\n");
    }

    fn reply(line: &str) -> Result<Reply, Error> {
        decode(parse_meta_result(MetaResponse::parse_header(line.as_bytes())?)?, 7)
    }

    #[test]
    fn each_reply_has_one_meaning() {
        assert_eq!(reply("HD c12 O7").unwrap(), Reply::Done { cas: 12 });
        assert_eq!(reply("HD O7").unwrap(), Reply::Done { cas: 0 });
        assert_eq!(reply("EX O7").unwrap(), Reply::Mismatch);
        assert_eq!(reply("NF O7").unwrap(), Reply::Missing);
        assert_eq!(reply("EN O7").ok(), Some(Reply::Missing));
    }

    #[test]
    fn a_reply_to_another_command_is_refused() {
        for line in [
            "HD c12 O8",
            "HD c12",
            "HD O7x",
            "NS O7",
            "MN",
            "CLIENT_ERROR bad",
            "garbage",
        ] {
            assert!(reply(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_reply_line_is_read_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(result) = MetaResponse::parse_header(&line).and_then(parse_meta_result) {
                let _ = decode(result, 7);
            }
        }
    }
}
