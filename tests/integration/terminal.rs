//! A terminal for a program: a pseudo-terminal of the kernel, with a screen that understands what is written to it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use namelock_test_servers::Process;
use rustix::io::{FdFlags, fcntl_setfd};
use vt100::{Callbacks, Parser, Screen};

use crate::fixture::DEADLINE;

/// What a terminal was told beyond what is drawn; a program that shows texts of strangers must not pass it on.
#[derive(Debug, Default)]
struct Mischief(Vec<String>);

impl Callbacks for Mischief {
    fn audible_bell(&mut self, _: &mut Screen) {
        self.0.push("bell".to_owned());
    }

    fn resize(&mut self, _: &mut Screen, size: (u16, u16)) {
        self.0.push(format!("resize {size:?}"));
    }

    fn set_window_title(&mut self, _: &mut Screen, title: &[u8]) {
        self.0.push(format!("title {}", String::from_utf8_lossy(title)));
    }

    fn copy_to_clipboard(&mut self, _: &mut Screen, _: &[u8], data: &[u8]) {
        self.0.push(format!("clipboard {}", String::from_utf8_lossy(data)));
    }
}

/// A terminal with one program in it.
pub(crate) struct Terminal {
    pub(crate) process: Process,
    keys: File,
    /// Kept open, so that it can be looked at when the program has ended.
    _slave: OwnedFd,
    path: PathBuf,
    screen: Arc<Mutex<Parser<Mischief>>>,
    is_closing: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    /// How the terminal was set before.
    before: String,
}

/// Opens a pseudo-terminal of this size: the end of whoever types and looks, and that of the program.
fn open(columns: u16, rows: u16) -> (File, OwnedFd) {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: the pointers are to live variables, or null where openpty(3) allows it.
    let result = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            ptr::null_mut(),
            ptr::null(),
            &raw const size,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just opened, and nobody else has them.
    let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    // The program has the ends that it is given, or the terminal could not be closed.
    fcntl_setfd(&master, FdFlags::CLOEXEC).unwrap();
    fcntl_setfd(&slave, FdFlags::CLOEXEC).unwrap();
    (master, slave)
}

fn stty(path: &PathBuf, arguments: &[&str]) -> String {
    let output = Command::new("stty")
        .arg("-F")
        .arg(path)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Terminal {
    /// Runs `namelock` with these arguments in a terminal of this size, and what `with` adds.
    pub(crate) fn start((columns, rows): (u16, u16), arguments: &[&str], with: impl FnOnce(&mut Command)) -> Self {
        let (master, slave) = open(columns, rows);
        let path = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
        let before = stty(&path, &["-g"]);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Process::command("setsid", "it is part of util-linux");
        command
            .args(["--ctty", env!("CARGO_BIN_EXE_namelock")])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        with(&mut command);
        let process = Process::spawn(&mut command);
        // The command has ends of its own, which nobody else is to keep open.
        drop(command);
        let size = |cells: u16| cells.try_into().unwrap();
        let parser = Parser::new_with_callbacks(size(rows), size(columns), 0, Mischief::default());
        let (screen, is_closing) = (Arc::new(Mutex::new(parser)), Arc::new(AtomicBool::new(false)));
        let mut output = master.try_clone().unwrap();
        let reader = {
            let (screen, is_closing) = (Arc::clone(&screen), Arc::clone(&is_closing));
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length) = output.read(&mut bytes) {
                    if length == 0 || is_closing.load(Ordering::SeqCst) {
                        return;
                    }
                    screen.lock().unwrap().process(&bytes[..length]);
                }
            })
        };
        Self {
            process,
            keys: master,
            _slave: slave,
            path,
            screen,
            is_closing,
            reader: Some(reader),
            before,
        }
    }

    /// What stands on the screen.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen is so, and returns what stands on it.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let text = self.text();
            if holds(&text) {
                return text;
            }
            assert!(begin.elapsed() < DEADLINE, "never: {what}; the screen is\n{text}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until this stands on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, part: &str) -> String {
        self.until(part, |text| text.contains(part))
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = |cells: u16| cells.try_into().unwrap();
        self.screen.lock().unwrap().set_size(size(rows), size(columns));
        stty(&self.path, &["cols", &columns.to_string(), "rows", &rows.to_string()]);
    }

    /// How many cells have a colour.
    pub(crate) fn coloured(&self) -> usize {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let cells =
            (0..rows.get()).flat_map(|row| (0..columns.get()).filter_map(move |column| screen.cell(row, column)));
        cells
            .filter(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
            .count()
    }

    /// Checks that the terminal was told nothing but what to draw.
    #[track_caller]
    pub(crate) fn was_not_abused(&self) {
        let parser = self.screen.lock().unwrap();
        assert!(parser.callbacks().0.is_empty(), "{:?}", parser.callbacks());
    }

    /// Whether the program has the screen to itself.
    pub(crate) fn is_taken(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Waits for the end of the program, and checks that the terminal is as it was. Returns the exit code.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let status = self.process.wait(DEADLINE).expect("the program did not end");
        self.until("the screen is given back", |_| {
            let parser = self.screen.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        });
        assert_eq!(stty(&self.path, &["-g"]), self.before);
        status.code()
    }

    /// Closes the terminal, as a window is closed, while a key is shown that makes the program write.
    pub(crate) fn close(self, key: &str) -> Process {
        let Self {
            process,
            mut keys,
            is_closing,
            reader,
            ..
        } = self;
        is_closing.store(true, Ordering::SeqCst);
        keys.write_all(key.as_bytes()).unwrap();
        reader.unwrap().join().unwrap();
        drop(keys);
        process
    }
}
