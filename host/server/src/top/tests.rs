//! Frames as an operator sees them, and what keys make of them.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::answer::{Overview, Plain};
use super::draw;
use super::grid::Look;
use super::hosts::News;
use super::keys::{Action, press};
use super::model::Model;

const SECOND: Duration = Duration::from_secs(1);

/// A view of hosts, at one moment.
struct View {
    model: Model,
    now: Instant,
}

impl View {
    fn of(hosts: u16) -> Self {
        let addresses: Vec<_> = (1..=hosts).map(|port| ([10, 0, 0, 1], port).into()).collect();
        let now = Instant::now();
        let model = Model::new(&addresses, SECOND, true, now);
        Self { model, now }
    }

    fn hears(&mut self, host: usize, answer: &Value) {
        let overview = Box::new(Overview::read(&answer.to_string()).unwrap());
        self.model.hear(News::Answered { host, overview }, self.now);
    }

    fn with(answer: &Value) -> Self {
        let mut view = Self::of(1);
        view.hears(0, answer);
        view
    }

    fn frame(&self, width: u16, height: u16, colour: bool) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let look = Look { colour };
        let draw = |frame: &mut ratatui::Frame| {
            draw::frame(&self.model, self.now, look, frame.area(), frame.buffer_mut());
        };
        terminal.draw(draw).unwrap();
        terminal
    }

    fn lines(&self, width: u16, height: u16) -> Vec<String> {
        draw::lines(self.frame(width, height, false).backend().buffer())
    }

    fn text(&self) -> String {
        self.lines(80, 24).join("\n")
    }

    fn press(&mut self, keys: &str) -> Action {
        let mut action = Action::Nothing;
        for key in keys.chars() {
            action = self.code(match key {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            });
        }
        action
    }

    fn code(&mut self, code: KeyCode) -> Action {
        press(&mut self.model, KeyEvent::from(code), self.now)
    }
}

fn busy() -> Value {
    json!({
        "at_ms": 100_000,
        "host": { "version": "0.1.0", "state": "ready", "calls_running": 3, "calls_waiting": 1, "calls_max": 256,
                  "rate": 120.4, "faults": 2, "p50_ms": 1.234, "p99_ms": 9.87 },
        "lock": { "servers": [{ "server": "10.0.0.5:11211", "up": true, "queued": 0, "rate": 240.0, "p50_ms": 0.2, "p99_ms": 0.9 }] },
        "database": { "kind": "PostgreSQL", "clock_off_ms": -20, "rate": 118.0, "p50_ms": 0.8, "p99_ms": 4.0 },
        "tenants": { "total": 3, "matching": 3, "rows": [
            { "tenant": "acme", "state": "serving", "running": 3, "waiting": 1, "held": 2, "rate": 100.0, "faults": 2,
              "p50_ms": 1.2, "p99_ms": 9.9, "near": [{ "limit": "limits.calls", "percent": 94 }] },
            { "tenant": "broken", "state": "unavailable" },
            { "tenant": "zoo", "state": "serving", "rate": 20.4, "p50_ms": 1.3, "p99_ms": 1200.0 }] },
        "locks": { "held": 2, "waiting": 4, "rows": [
            { "id": 7, "namespace": "acme", "digest": "0cc175b9c0f1b6a831c399e269772661", "age_ms": 4_200, "remaining_ms": 5_800,
              "waiting": 4 },
            { "id": 3, "namespace": "zoo", "digest": "92eb5ffee6ae2fec3ad71c777531578f", "age_ms": 61_000, "remaining_ms": 900 }] },
        "faults": { "codes": [{ "code": "handler_trapped", "count": 5, "minutes": [3, 0, 0, 0, 0, 2] }],
                    "lately": [{ "tenant": "acme", "code": "handler_trapped", "last_ms": 98_000, "request_id": "r-1" }] },
    })
}

#[test]
fn a_frame_of_80_by_24_shows_everything() {
    let mut view = View::with(&busy());
    view.press("\t");
    let expect = [
        "namelock top  10.0.0.1:1  every 1s",
        "  Hosts: 1 of 1 answer",
        "  host              state             req/s errors     p50     p99     calls/max",
        "  10.0.0.1:1        ready 0.1.0       120.4      2  1.23ms  9.87ms       3+1/256",
        "    10.0.0.5:11211  memcached up      240.0         0.20ms  0.90ms",
        "    PostgreSQL      database up       118.0         0.80ms  4.00ms",
        "  Tenants: 3 of 3, the busiest first",
        "  tenant           req/s errors     p50     p99 run+wait  locks nearest limit",
        "  acme             100.0      2  1.20ms  9.90ms      3+1      2 94% limits.calls",
        "  zoo               20.4      0  1.30ms    1.2s      0+0      0",
        "  broken               0      0       -       -      0+0      0 UNAVAILABLE",
        "",
        "",
        "",
        "",
        "",
        "> Locks: 2 held, 4 wait, most waited for first",
        "  tenant             name or its digest             held   lasts waiting  lease",
        "> acme               0cc175b9c0f1b6a831c399e2697    4.2s    5.8s       4      7",
        "  zoo                92eb5ffee6ae2fec3ad71c77753   1m01s    0.9s       0      3",
        "  Faults of the last hour",
        "  code                   hour   5 min    last of tenant     request",
        "  handler_trapped           5       2    2.0s acme          r-1",
        "q quit  Tab pane  s sort  / filter  e end lease  p pause  ? help",
    ];
    assert_eq!(view.lines(80, 24), expect);
}

#[test]
fn what_is_printed_is_all_of_it() {
    let view = View::with(&busy());
    let text = draw::printed(&view.model, view.now);
    assert!(text.starts_with("Hosts: 1 of 1 answer\n  host "), "{text}");
    for part in ["NOT SERVING", ">"] {
        assert!(!text.contains(part), "{text}");
    }
    for part in [
        "10.0.0.5:11211",
        "UNAVAILABLE",
        "92eb5ffee6ae2fec3ad71c777531578f",
        "handler_trapped",
        "r-1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.lines().all(|line| line.trim_end() == line && line.len() <= 120),
        "{text}"
    );
}

#[test]
fn a_host_that_does_not_answer_is_shown_with_reason_and_time_while_others_go_on() {
    let mut view = View::of(3);
    view.hears(0, &busy());
    let reason = Plain::new("Connection refused");
    view.model.hear(News::Failed { host: 1, reason }, view.now);
    view.now += 2 * SECOND;
    let text = view.text();
    for part in [
        "Hosts: 1 of 3 answer",
        "NO ANSWER",
        "for 2.0s: Connection refused",
        "asking",
        "acme",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    view.now += 2 * SECOND;
    let text = view.text();
    assert!(
        text.contains("Hosts: 0 of 3 answer") && !text.contains("acme"),
        "{text}"
    );
    assert!(text.contains("for 4.0s: it was asked and says nothing"), "{text}");
}

#[test]
fn no_state_is_told_by_colour_alone() {
    let mut answer = busy();
    answer["host"]["state"] = json!("not_ready");
    answer["lock"]["servers"][0]["up"] = json!(false);
    answer["database"]["refused"] = json!("no answer within 1s");
    answer["database"]["clock_off_ms"] = json!(-2500);
    let view = View::with(&answer);
    let text = view.lines(80, 30).join("\n");
    for part in [
        "NOT READY 0.1.0",
        "memcached DOWN",
        "database DOWN",
        "names: no answer within 1s",
        "differ by 2.5s",
        "UNAVAILABLE",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let colours = |colour| {
        let frame = view.frame(80, 30, colour);
        let cells = frame.backend().buffer().content().iter();
        cells
            .filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
            .count()
    };
    assert!(colours(true) > 0);
    assert_eq!(colours(false), 0);
    let words = |colour| draw::lines(view.frame(80, 30, colour).backend().buffer());
    assert_eq!(words(true), words(false));
}

#[test]
fn a_hostile_text_moves_nothing_on_the_screen() {
    let mut answer = busy();
    let hostile = "x\u{1b}[2J\u{1b}[31m\u{9b}5A\r\n\u{7}\u{202e}y";
    answer["locks"]["rows"][0]["namespace"] = json!(hostile);
    answer["tenants"]["rows"][1]["tenant"] = json!(hostile);
    answer["faults"]["codes"][0]["code"] = json!(hostile);
    answer["host"]["version"] = json!(hostile);
    let mut view = View::with(&answer);
    view.model.message = Some(Plain::new(hostile));
    let text = view.text() + &draw::printed(&view.model, view.now);
    assert!(text.contains("x [2J [31m 5A \\u{202e}y"), "{text}");
    assert!(
        !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
        "{text:?}"
    );
}

#[test]
fn a_terminal_of_any_size_is_drawn() {
    let mut view = View::with(&busy());
    for keys in ["", "\t", "e", "n/ac", "\n?", "?p"] {
        view.press(keys);
        for (width, height) in (0..90)
            .step_by(7)
            .flat_map(|width| (0..30).map(move |height| (width, height)))
        {
            view.frame(width, height, true);
        }
    }
    assert_eq!(View::with(&busy()).lines(20, 4)[0], "> Tenants: 3 of 3, t");
}

#[test]
fn keys_move_within_a_table_and_to_the_next_one() {
    let mut view = View::with(&busy());
    let marked = |view: &View| {
        let lines = view.lines(80, 24);
        let mut marked = lines.iter().filter_map(|line| line.strip_prefix("> "));
        let mut word = || {
            marked
                .next()
                .and_then(|line| line.split([' ', ':']).next())
                .unwrap_or_default()
                .to_owned()
        };
        (word(), word())
    };
    let pair = |pane: &str, row: &str| (pane.to_owned(), row.to_owned());
    assert_eq!(marked(&view), pair("Tenants", "acme"));
    for (key, row) in [
        ('j', "zoo"),
        ('j', "broken"),
        ('j', "broken"),
        ('k', "zoo"),
        ('G', "broken"),
        ('g', "acme"),
    ] {
        view.press(&key.to_string());
        assert_eq!(marked(&view), pair("Tenants", row), "{key}");
    }
    view.code(KeyCode::Down);
    // Its row comes last now, and is still the one that is selected.
    view.press("sssssss");
    assert_eq!(marked(&view), pair("Tenants", "zoo"));
    for pane in ["Locks", "Faults", "Hosts", "Tenants"] {
        view.press("\t");
        assert_eq!(marked(&view).0, pane);
    }
    view.code(KeyCode::BackTab);
    assert_eq!(marked(&view), pair("Hosts", "10.0.0.1"));
}

#[test]
fn the_order_of_tenants_and_of_locks_changes() {
    let mut view = View::with(&busy());
    let first = |view: &View, title: &str| {
        let lines = view.lines(80, 24);
        let at = lines
            .iter()
            .position(|line| line.contains(title))
            .unwrap_or_else(|| panic!("{title}: {lines:?}"));
        lines[at + 2][2..].split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(first(&view, "3 of 3, the busiest first"), "acme");
    view.press("ss");
    assert_eq!(first(&view, "3 of 3, the slowest first"), "zoo");
    assert_eq!(view.model.wanted().sort, "p99");
    assert_eq!(first(&view, "most waited for first"), "acme");
    view.press("\ts");
    assert_eq!(first(&view, "2 held, 4 wait, the oldest first"), "zoo");
    assert_eq!(view.model.wanted().sort, "p99");
}

#[test]
fn a_filter_shows_some_tenants_and_their_locks_at_once_and_is_asked_for() {
    let mut view = View::with(&busy());
    view.press("/zq\u{8}");
    assert!(view.text().contains("tenants that begin with: z_"));
    assert_eq!(view.press("\n"), Action::Nothing);
    let text = view.text();
    assert!(
        text.contains("1 of 3 that begin with z") && !text.contains("  acme"),
        "{text}"
    );
    assert_eq!(view.model.wanted().tenant, "z");
    // What is a key elsewhere is a letter here, and Esc does not quit.
    view.press("/q");
    assert_eq!(view.press("\u{1b}"), Action::Nothing);
    assert_eq!(view.model.wanted().tenant, "");
    view.press("/");
    view.press(&"x".repeat(1000));
    assert_eq!(view.model.wanted().tenant.len(), 64);
}

#[test]
fn a_lease_is_ended_only_when_that_is_confirmed_and_only_that_one() {
    let mut view = View::with(&busy());
    assert_eq!(view.press("e"), Action::Nothing);
    assert!(view.text().contains("select a lock first"));
    view.press("\te");
    let text = view.text();
    assert!(text.contains("y/n? End the lease 7 of acme at 10.0.0.1:1"), "{text}");
    assert_eq!(view.press("n"), Action::Nothing);
    assert!(view.text().contains("the lease was kept"));
    view.press("e");
    assert_eq!(view.press("y"), Action::End { host: 0, id: 7 });
    // One at a time.
    view.press("e");
    assert!(view.text().contains("a lease is being ended"));
    let ended = Err(Plain::new("the lease 7 was not ended: no right"));
    view.model.hear(News::Ended(ended), view.now);
    assert!(view.text().contains("was not ended: no right"));

    // While it is asked whether the lease is to be ended, rows may move, and another lease may get its number.
    view.press("je");
    let mut later = busy();
    later["locks"]["rows"].as_array_mut().unwrap().swap(0, 1);
    later["locks"]["rows"][0]["waiting"] = json!(9);
    view.hears(0, &later);
    assert_eq!(view.press("y"), Action::End { host: 0, id: 3 });
    view.model.hear(News::Ended(Ok(Plain::new("ended"))), view.now);
    view.press("e");
    later["locks"]["rows"][0]["digest"] = json!("another");
    view.hears(0, &later);
    assert_eq!(view.press("y"), Action::Nothing);
    assert!(view.text().contains("that lease has ended already"));
}

#[test]
fn names_that_may_not_be_told_are_missed_with_a_reason() {
    let mut view = View::with(&busy());
    let mut overview = Overview::read(&busy().to_string()).unwrap();
    overview.nameless = Some(Plain::new("this token does not have the right to names"));
    let overview = Box::new(overview);
    view.model.hear(News::Answered { host: 0, overview }, view.now);
    assert!(
        view.text().contains("names are not shown: this token does not"),
        "{}",
        view.text()
    );
}

#[test]
fn it_pauses_explains_itself_and_quits() {
    let mut view = View::with(&busy());
    view.press("p");
    view.now += 60 * SECOND;
    assert!(view.text().contains("PAUSED") && view.text().contains("1 of 1 answer"));
    view.press("p");
    assert!(!view.text().contains("PAUSED"));
    view.press("?");
    assert!(view.text().contains("end the lease of the selected lock"));
    assert_eq!(view.press("q"), Action::Nothing);
    assert!(view.text().contains("Tenants: "));
    assert_eq!(view.press("r"), Action::Refresh);
    assert_eq!(view.press("q"), Action::Quit);
    assert_eq!(view.press("\u{1b}"), Action::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for before in ["", "/", "\n\te", "?"] {
        view.press(before);
        assert_eq!(press(&mut view.model, control_c, view.now), Action::Quit);
    }
}
