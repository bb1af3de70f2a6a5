//! How processes end.

/// How a process ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    pub pid: u32,
    pub code: Option<i32>,
    /// Without `SIG`.
    pub signal: Option<String>,
    pub signal_number: Option<i32>,
    pub core_dumped: bool,
}

impl Ended {
    /// The exit code that a shell would give: that of the process, or 128 and its signal.
    pub fn shell_code(&self) -> u8 {
        const SIGNALLED: i32 = 128;
        let code = self.code.or(self.signal_number.map(|number| SIGNALLED + number));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
    }
}
