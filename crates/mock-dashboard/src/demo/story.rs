//! What the demo says when it starts: where the page is, and what to try.

use std::net::SocketAddr;
use std::path::Path;

use super::fleet::CONFIRM_TIMEOUT;

/// Columns of the text on a terminal that does not tell its own.
const COLUMNS: usize = 80;

/// Bounds of the columns that are used: a narrower terminal breaks lines itself, and longer lines are hard to read.
const NARROWEST: usize = 30;
const WIDEST: usize = 100;

/// The columns of the terminal.
pub(super) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(COLUMNS).clamp(NARROWEST, WIDEST)
}

/// The text. `asked` is the address that was wanted.
pub(super) fn tell(address: SocketAddr, asked: SocketAddr, folder: &Path, columns: usize) -> String {
    let mut text = format!("\nThe dashboard is at  http://{address}/\n");
    let mut add = |indent: &str, paragraph: &str| {
        text.push('\n');
        text += &wrapped(paragraph, indent, columns);
    };
    if asked.port() != 0 && asked.port() != address.port() {
        let taken = asked.port();
        add("", &format!("(Port {taken} is in use by another program; --listen chooses another one.)"));
    }
    if !address.ip().is_loopback() {
        add("", "(Others can reach it, and nobody has to log in. Use it on a network that you trust.)");
    }
    add(
        "",
        "Three hosts, each with a real agent. What they rebuild is a stand-in, so nothing changes on this machine. \
         What to try:",
    );
    add(
        "1. ",
        "web-1 has missed a commit: `pull`, `switch`, `test`, and all its lights are green. In the middle of the switch, the \
         new system's agent takes the place of the one before. The output goes on.",
    );
    add(
        "2. ",
        "`test-long` writes for 30 s. Press another command meanwhile: it is rejected, and you see by what. Or kill the \
         agent: a new one goes on with the command, and no line is lost.",
    );
    // A command to copy is never broken.
    text += "   pkill -KILL -f 'web-1/agent.toml run'\n";
    let mut add = |indent: &str, paragraph: &str| {
        text.push('\n');
        text += &wrapped(paragraph, indent, columns);
    };
    add(
        "3. ",
        &format!(
            "studio: `break-network` commits a mistake, and `pull-switch` deploys it. The host is cut off, nobody \
             confirms the new system, and after {CONFIRM_TIMEOUT} s it takes that back by itself. `mend-network` ends \
             the mistake. The load of its GPUs rises and falls, with pre-warm signals."
        ),
    );
    add("4. ", "attic: `test` and `backup` fail, and say why.");
    add(
        "5. ",
        "`commit` on web-1 makes all hosts out of date. Or commit something of your own in this repository:",
    );
    text += &format!("   {}\n", folder.join("origin").display());
    text.push('\n');
    text += &wrapped("Ctrl-C ends it all and removes its files. What the agents log:", "", columns);
    text += &format!("   {}\n", folder.join("*/agent.log").display());
    text
}

/// Breaks a paragraph into lines. `head` is in front of the first line, and the others are indented as far.
fn wrapped(paragraph: &str, head: &str, columns: usize) -> String {
    let mut text = String::new();
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in paragraph.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > columns {
            text += &line;
            text.push('\n');
            line = " ".repeat(head.chars().count());
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += word;
        is_empty = false;
    }
    text + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_fit_into_narrow_and_wide_terminals_with_all_their_words() {
        let (address, folder) = ("127.0.0.1:8001".parse().unwrap(), Path::new("/tmp/nixfleet-demo-1"));
        let words = |columns| {
            let text = tell(address, "127.0.0.1:8000".parse().unwrap(), folder, columns);
            for line in text.lines() {
                // Addresses, paths and commands are for copying.
                let for_copying = ["http://", "pkill", "/tmp/"].iter().any(|part| line.contains(part));
                assert!(line.chars().count() <= columns || for_copying, "{columns}: {line}");
                assert_eq!(line, line.trim_end());
            }
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words(NARROWEST), words(WIDEST));
        assert!(words(80).contains(&"http://127.0.0.1:8001/".to_owned()));
    }

    #[test]
    fn only_a_port_that_was_taken_is_mentioned() {
        let told = |asked: &str| {
            tell("127.0.0.1:8001".parse().unwrap(), asked.parse().unwrap(), Path::new("/f"), 80)
        };
        assert!(told("127.0.0.1:8000").contains("Port 8000 is in use"));
        for asked in ["127.0.0.1:8001", "127.0.0.1:0"] {
            assert!(!told(asked).contains("in use"), "{asked}");
        }
    }

    #[test]
    fn whoever_shows_the_demo_to_others_is_told_so() {
        let tells = |address: &str| {
            tell(address.parse().unwrap(), address.parse().unwrap(), Path::new("/f"), 80)
                .contains("Others can reach it")
        };
        assert!(tells("0.0.0.0:8000") && tells("192.0.2.1:8000") && tells("[::]:8000"));
        assert!(!tells("127.0.0.1:8000") && !tells("[::1]:8000"));
    }
}
