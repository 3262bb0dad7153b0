//! `namelock admin`: asks the admin listener of a running host, and prints what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::output::print;

/// How long a host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer, in bytes: the states of many tenants.
const ANSWER_MAX: u64 = 64 << 20;

/// The arguments of `namelock admin`.
#[derive(Args, Debug)]
pub struct AdminFlags {
    /// The admin listener of the host [env: NAMELOCK_ADMIN] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", global = true)]
    admin: Option<SocketAddr>,
    /// Prints what the host answers, as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Lists the locks that calls on this host hold, the oldest first, and how many calls wait for each.
    Locks {
        /// How many are listed
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Ends a lease: its call hears `lease_lost` and writes nothing more, and the lock is given back.
    EndLease {
        /// The number that `locks` shows
        id: u64,
    },
    /// Lists the tenants with their states, and why what stands in a directory is refused.
    Tenants,
    /// Says whether the host is ready, and why not.
    Ready,
}

/// Does what an operator asks for.
pub fn run(flags: &AdminFlags, env: Option<&str>) -> Result<(), RunError> {
    let admin = address(flags.admin, env)?;
    let ask = |method, path: &str| ask(admin, method, path);
    match &flags.command {
        AdminCommand::Locks { limit } => show(flags, &ask("GET", &format!("/locks?limit={limit}"))?, locks),
        AdminCommand::EndLease { id } => {
            let answer = ask("DELETE", &format!("/locks/{id}"))?;
            show(flags, &answer, |_| format!("the lease {id} was ended\n"))
        }
        AdminCommand::Tenants => show(flags, &ask("GET", "/tenants")?, tenants),
        AdminCommand::Ready => show(flags, &ask("GET", "/readyz")?, |_| "ready\n".to_owned()),
    }
}

fn address(given: Option<SocketAddr>, env: Option<&str>) -> Result<SocketAddr, RunError> {
    let default = SocketAddr::from(([127, 0, 0, 1], 8081));
    match (given, env.filter(|text| !text.is_empty())) {
        (Some(admin), _) => Ok(admin),
        (None, None) => Ok(default),
        (None, Some(text)) => text.parse().map_err(|_| {
            let problem = format!("`{text}` is not an address; write an IP address with a port, as in {default}");
            ConfigError::new("NAMELOCK_ADMIN", problem).into()
        }),
    }
}

/// What a host answered.
struct Answer {
    status: u16,
    body: String,
}

fn ask(admin: SocketAddr, method: &str, path: &str) -> Result<Answer, RunError> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // With HTTP/1.0 the end of the connection is that of the answer.
        write!(stream, "{method} {path} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    let unreached = |source: std::io::Error| {
        let source = match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                std::io::Error::other(format!("no answer within {TIMEOUT:?}"))
            }
            _ => source,
        };
        RunError::Admin { admin, source }
    };
    let text = exchange().map_err(unreached)?;
    let parsed = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = body.to_owned();
        Some(Answer { status, body })
    });
    parsed.ok_or_else(|| unreached(std::io::Error::other("it does not speak HTTP")))
}

fn show(flags: &AdminFlags, answer: &Answer, text: impl FnOnce(&Value) -> String) -> Result<(), RunError> {
    if !(200..300).contains(&answer.status) {
        return Err(RunError::Answered(answer.body.trim().to_owned()));
    }
    if flags.json {
        return print(&format!("{}\n", answer.body.trim()));
    }
    print(&text(&serde_json::from_str(&answer.body).unwrap_or_default()))
}

fn locks(answer: &Value) -> String {
    let rows = answer.as_array().into_iter().flatten().map(|lock| {
        [
            lock["id"].to_string(),
            text(&lock["namespace"]),
            text(&lock["digest"]),
            lock["fencing_token"].to_string(),
            seconds(&lock["age_ms"]),
            seconds(&lock["remaining_ms"]),
            lock["waiting"].to_string(),
        ]
    });
    table(
        [
            "lease",
            "namespace",
            "digest of name",
            "fencing token",
            "age",
            "lasts",
            "waiting",
        ],
        rows,
    )
}

fn tenants(answer: &Value) -> String {
    let rows = answer.as_array().into_iter().flatten().map(|tenant| {
        [
            text(&tenant["tenant"]),
            text(&tenant["state"]),
            text(&tenant["component"]),
            text(&tenant["refused"]),
        ]
    });
    table(["tenant", "state", "component", "refused because"], rows)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn seconds(ms: &Value) -> String {
    format!("{:.1} s", ms.as_f64().unwrap_or_default() / 1e3)
}

/// Columns as wide as they need to be.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let answer = json!([
            { "id": 7, "namespace": "demo", "digest": "0cc1", "fencing_token": 12, "age_ms": 1500, "remaining_ms": 8500, "waiting": 2 }
        ]);
        let expect = "lease  namespace  digest of name  fencing token  age    lasts  waiting\n\
                      7      demo       0cc1            12             1.5 s  8.5 s  2\n";
        assert_eq!(locks(&answer), expect);
        assert_eq!(tenants(&json!([])), "tenant  state  component  refused because\n");
    }

    #[test]
    fn a_host_is_found_by_flag_variable_or_default() {
        let flag = Some("127.0.0.1:1".parse().unwrap());
        assert_eq!(address(flag, Some("127.0.0.1:2")).unwrap().port(), 1);
        assert_eq!(address(None, Some("127.0.0.1:2")).unwrap().port(), 2);
        assert_eq!(address(None, None).unwrap().port(), 8081);
        assert_eq!(address(None, Some("")).unwrap().port(), 8081);
        let error = address(None, Some("here")).unwrap_err().to_string();
        assert!(error.starts_with("NAMELOCK_ADMIN: `here` is not an address"), "{error}");
    }
}
