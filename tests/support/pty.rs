//! Programs at a terminal, as a person runs them.

use std::io::Write;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::transcript::Transcript;
use super::{PATIENCE, Program};

/// A program in a terminal of its own, both ended when this is dropped.
pub(crate) struct Terminal {
    what: String,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    /// Everything that was sent to the screen, the echo of the keyboard included.
    pub(crate) screen: Transcript,
    _master: Box<dyn MasterPty + Send>,
}

impl Program {
    /// Starts it with a new terminal for all its streams.
    pub(crate) fn start_in_terminal(&self) -> Terminal {
        let size = PtySize {
            rows: 24,
            cols: 80,
            ..PtySize::default()
        };
        let pair = native_pty_system()
            .openpty(size)
            .expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(&self.path);
        command.args(&self.arguments);
        command.env_clear();
        command.env("TERM", "xterm");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.cwd(&self.directory);
        let child = pair
            .slave
            .spawn_command(command)
            .expect("the program is built");
        let reader = pair.master.try_clone_reader().expect("a terminal's screen");
        Terminal {
            what: self.what.clone(),
            child,
            keyboard: pair.master.take_writer().expect("a terminal's keyboard"),
            screen: Transcript::of(reader),
            _master: pair.master,
        }
    }
}

impl Terminal {
    /// Types `keys` as they are.
    pub(crate) fn press(&mut self, keys: &str) {
        // A program that has ended reads no more; its screen will tell.
        let _ = self
            .keyboard
            .write_all(keys.as_bytes())
            .and_then(|()| self.keyboard.flush());
    }

    /// Types `line` and the return key.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Waits until `text` has been sent to the screen.
    pub(crate) fn shows(&self, text: &str) {
        self.shows_times(text, 1);
    }

    /// Waits until `text` has been sent to the screen this often.
    pub(crate) fn shows_times(&self, text: &str, times: usize) {
        self.screen
            .wait(PATIENCE, |screen| {
                (screen.matches(text).count() >= times).then_some(())
            })
            .unwrap_or_else(|| self.fail(&format!("never showed {text:?} {times} times")));
    }

    /// Waits for the program's end: its exit code.
    pub(crate) fn finish(&mut self) -> u32 {
        if !self.screen.wait_for_end(PATIENCE) {
            self.fail::<()>("did not end");
        }
        self.child.wait().expect("it is our child").exit_code()
    }

    /// Fails the test with the screen.
    #[track_caller]
    pub(crate) fn fail<T>(&self, why: &str) -> T {
        panic!("{} {why}; its screen:\n{:?}", self.what, self.screen.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
