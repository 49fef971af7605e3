//! A block of shell code as commands. It knows what the documents use of the shell, and fails on anything else that
//! it could misread.

/// Words of the shell before a command.
const KEYWORDS: [&str; 8] = ["do", "done", "else", "fi", "if", "then", "until", "while"];

/// One command of a script.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    /// Program and arguments, without quotes, redirections and variables set for it.
    pub(crate) words: Vec<String>,
}

/// The commands of a script, in order. Lines that only set variables have none.
pub(crate) fn calls(script: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = script.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                // A line that goes on.
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            '\'' | '"' => {
                let text: String = letters.by_ref().take_while(|next| *next != letter).collect();
                assert!(letter == '\'' || !text.contains('\\'), "not understood: {text}");
                word.get_or_insert_default().push_str(&text);
            }
            '#' if word.is_none() => {
                while letters.peek().is_some_and(|next| *next != '\n') {
                    letters.next();
                }
            }
            ' ' | '\t' => words.extend(word.take()),
            '>' | '<' => {
                // With the number before it. What it leads to is no argument.
                if word.as_ref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
                    word = None;
                }
                words.extend(word.take());
                while letters.peek().is_some_and(|next| " >&".contains(*next)) {
                    letters.next();
                }
                while letters.peek().is_some_and(|next| !" \n;|&".contains(*next)) {
                    letters.next();
                }
            }
            '\n' | ';' | '|' | '&' => {
                words.extend(word.take());
                calls.push(Call { words: std::mem::take(&mut words) });
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    calls.push(Call { words });
    for call in &mut calls {
        let settings = call.words.iter().take_while(|word| is_assignment(word)).count();
        call.words.drain(..settings);
        if call.words.first().is_some_and(|word| KEYWORDS.contains(&word.as_str())) {
            call.words.remove(0);
        }
    }
    calls.retain(|call| !call.words.is_empty());
    calls
}

/// `NAME=value`.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    })
}

#[test]
fn scripts_are_read_as_a_shell_reads_them() {
    let words = |script: &str| calls(script).into_iter().map(|call| call.words.join("|")).collect::<Vec<_>>();
    assert_eq!(words("a b  # c\n"), ["a|b"]);
    assert_eq!(words("A=1 B='x y' a && b; c | d &\n"), ["a", "b", "c", "d"]);
    assert_eq!(words("a 'b c' \"d $e\" \\\n  f\n"), ["a|b c|d $e|f"]);
    assert_eq!(words("a -n 20 > file\nb 2>&1 <in c\n"), ["a|-n|20", "b|c"]);
    assert_eq!(words("x=1\n"), Vec::<String>::new());
    assert_eq!(words("until a; do b; done\n"), ["a", "b"]);
}
