//! memcached's classic text protocol on a bare socket: what the Python idiom speaks.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::process::DEADLINE;

const DUMP: &str = "lru_crawler metadump all";

/// Writes an item that is there only to be written.
const COUNT_UP: &str = "ms @counter 1 T60 c\r\nx";

/// A connection of a client that knows nothing of leases.
#[derive(Debug)]
pub struct RawMemcached {
    stream: BufReader<TcpStream>,
}

impl RawMemcached {
    /// Connects.
    ///
    /// # Panics
    ///
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot reach memcached at {address}: {error}"))
    }

    /// Connects, if somebody listens there.
    ///
    /// # Errors
    ///
    /// Those of a connection.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        Self::try_connect_within(address, DEADLINE)
    }

    /// Connects, if somebody listens there. Whatever takes longer than `within` reads as an empty line.
    ///
    /// # Errors
    ///
    /// Those of a connection.
    pub fn try_connect_within(address: SocketAddr, within: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, within)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Tells it who this is, as it asks with `-Y`.
    ///
    /// # Panics
    ///
    /// When it does not know this user.
    pub fn log_in(&mut self, user: &str, password: &str) {
        let bytes = user.len() + 1 + password.len();
        let answer = self.command(&format!("set login 0 0 {bytes}\r\n{user} {password}"));
        assert_eq!(answer, "STORED", "memcached does not know {user}");
    }

    /// Sends one line and reads one line.
    pub fn command(&mut self, line: &str) -> String {
        if self
            .stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .is_err()
        {
            return String::new();
        }
        self.line()
    }

    /// `add`: true when the key was free.
    pub fn add(&mut self, key: &str, value: &str, seconds: u32) -> bool {
        match self
            .command(&format!("add {key} 0 {seconds} {}\r\n{value}", value.len()))
            .as_str()
        {
            "STORED" => true,
            "NOT_STORED" => false,
            other => panic!("memcached answered {other:?} to add"),
        }
    }

    /// `delete`: true when there was something.
    pub fn delete(&mut self, key: &str) -> bool {
        self.command(&format!("delete {key}")) == "DELETED"
    }

    /// `get`: the value, if there is one.
    pub fn get(&mut self, key: &str) -> Option<String> {
        if self.command(&format!("get {key}")) == "END" {
            return None;
        }
        let value = self.line();
        self.line();
        Some(value)
    }

    /// `stats`: one figure.
    pub fn stat(&mut self, name: &str) -> Option<u64> {
        let mut line = self.command("stats");
        let mut found = None;
        while line != "END" && !line.is_empty() {
            if let Some(value) = line
                .strip_prefix("STAT ")
                .and_then(|rest| rest.strip_prefix(name)?.strip_prefix(' '))
            {
                found = value.parse().ok();
            }
            line = self.line();
        }
        found
    }

    /// The lock keys that the server holds, without the sentinels.
    pub fn lock_keys(&mut self) -> Vec<String> {
        self.locks().into_iter().map(|(key, _)| key).collect()
    }

    /// The lock keys that the server holds, without the sentinels, each with its CAS.
    pub fn locks(&mut self) -> Vec<(String, u64)> {
        let mut locks = Vec::new();
        let mut line = self.command(DUMP);
        // The crawler does one thing at a time, and begins some by itself.
        while line.starts_with("BUSY") {
            std::thread::sleep(Duration::from_millis(2));
            line = self.command(DUMP);
        }
        while line != "END" && !line.is_empty() {
            let field = |name: &str| {
                line.split(' ')
                    .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            };
            if let Some(key) = field("key") {
                // The dump writes keys with %-escapes.
                let key = key.replace("%3A", ":").replace("%40", "@");
                if !key.contains('@') {
                    let cas = field("cas").and_then(|cas| cas.parse().ok());
                    locks.push((key, cas.unwrap_or_default()));
                }
            }
            line = self.line();
        }
        locks
    }

    /// The CAS of an item, if there is one.
    pub fn cas(&mut self, key: &str) -> Option<u64> {
        flag(&self.command(&format!("mg {key} c")), 'c')
    }

    /// Writes an item that is there only for this, and returns its CAS: the number of writes that the server has seen.
    pub fn count_up(&mut self) -> Option<u64> {
        flag(&self.command(COUNT_UP), 'c')
    }

    /// Writes an item anew as it is, such that it gets this CAS. False: there is none, or the server's numbers are beyond.
    ///
    /// What is sent at once is executed at once, as long as it is no more than a server takes from one connection before
    /// it turns to another: 20 requests (`-R`).
    pub fn renumber(&mut self, key: &str, wanted: u64) -> bool {
        let found = self.command(&format!("mg {key} t c v"));
        if !found.starts_with("VA ") {
            return false;
        }
        let value = self.line();
        let (Some(seconds), Some(cas)) = (flag(&found, 't'), flag(&found, 'c')) else {
            return false;
        };
        let Some(between) = self.count_up().and_then(|at| wanted.checked_sub(at + 1)) else {
            return false;
        };
        let mut requests = format!("{COUNT_UP}\r\n").repeat(usize::try_from(between).unwrap_or_default());
        requests += &format!("ms {key} {} T{seconds} C{cas} c\r\n{value}", value.len());
        let mut reply = self.command(&requests);
        for _ in 0..between {
            reply = self.line();
        }
        flag(&reply, 'c') == Some(wanted)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        // A connection that is gone reads as an empty line.
        let _ = self.stream.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

/// The number that a reply of the meta protocol tells after this letter.
fn flag(reply: &str, letter: char) -> Option<u64> {
    let words = reply.strip_prefix("HD").or_else(|| reply.strip_prefix("VA"))?;
    words
        .split(' ')
        .find_map(|word| word.strip_prefix(letter)?.parse().ok())
}
