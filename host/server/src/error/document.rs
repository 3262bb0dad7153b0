//! The page `docs/errors.md`: a table of all codes, and a section for each.

use super::kind::{ErrorKind, Retry};

/// What the page says before its table.
const INTRODUCTION: &str = "# Error codes

Generated from `host/server/src/error/kind.rs`; to change it, edit that file and run the tests with `UPDATE_DOCS=1`.

Errors are `application/problem+json` (RFC 9457) with `type` (`urn:namelock:error:CODE`), `title`, `status`, `detail`,
`code` and `request_id`. The same code is the label `code` of the metric `namelock_requests_total` and the field `code` of
the log line; there, and in no answer, a request whose caller hung up before its answer has the code `client_gone`. Where
waiting helps, the answer also has `retry_after_ms` and the header `Retry-After`.

| code | status | retry | means |
|---|---|---|---|
";

/// The text of the page.
pub fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    for kind in ErrorKind::ALL {
        let retry = match kind.retry() {
            Retry::Later => "yes",
            Retry::No => "no",
        };
        let (label, status) = (kind.label(), kind.status().as_u16());
        text.push_str(&format!(
            "| [`{label}`](#{label}) | {status} | {retry} | {} |\n",
            kind.sentence()
        ));
    }
    for kind in ErrorKind::ALL {
        section(&mut text, kind);
    }
    text
}

fn section(text: &mut String, kind: ErrorKind) {
    let page = kind.page();
    let retry = match kind.retry() {
        Retry::Later => "Retry: yes, after `retry_after_ms`.",
        Retry::No => "Retry: no; the same request most likely ends the same way.",
    };
    text.push_str(&format!(
        "\n## {}\n\n**{}.** Status {}. {retry}\n\n{}\n\n- **Why:** {}\n- **Caller:** {}\n",
        kind.label(),
        kind.title(),
        kind.status().as_u16(),
        kind.sentence(),
        page.why,
        page.caller
    ));
    for (who, what) in [("Handler author", page.handler), ("Operator", page.operator)] {
        if !what.is_empty() {
            text.push_str(&format!("- **{who}:** {what}\n"));
        }
    }
}
