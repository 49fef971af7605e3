use proptest::prelude::*;

use super::*;

fn said(text: &str) -> Vec<String> {
    parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_file_is_read_as_a_shell_would_have_read_it() {
    let conf = |seconds: Option<u64>, format| Conf { interval: seconds.map(Duration::from_secs), format };
    for (text, wanted) in [
        ("", conf(None, None)),
        ("# nothing\n\n  \t\n", conf(None, None)),
        ("INTERVAL=10  # Sample every 10 seconds instead of 30\n", conf(Some(10), None)),
        ("INTERVAL=10\nFORMAT=avocado\n", conf(Some(10), Some(Format::Avocado))),
        ("INTERVAL=10\r\nFORMAT=text\r\n", conf(Some(10), Some(Format::Text))),
        ("INTERVAL=\"10\" # ten\nFORMAT='logfmt'", conf(Some(10), Some(Format::Logfmt))),
        ("  export INTERVAL=10\nexport\tFORMAT=journal", conf(Some(10), Some(Format::Journal))),
        ("INTERVAL = 10\n", conf(Some(10), None)),
        ("INTERVAL=1", conf(Some(1), None)),
        ("INTERVAL=86400", conf(Some(86_400), None)),
        ("INTERVAL=007", conf(Some(7), None)),
        ("INTERVAL=\nFORMAT=\"\" # the default", conf(None, None)),
        ("INTERVAL= # the default", conf(None, None)),
        ("#INTERVAL=0\nFORMAT=json", conf(None, Some(Format::Json))),
        ("\u{feff}INTERVAL=5", conf(Some(5), None)),
        // As editors of Windows write it.
        ("\u{feff}INTERVAL=\"10\" \t\r\nFORMAT='text'\r\n\u{1a}", conf(Some(10), Some(Format::Text))),
        (
            "INTERVAL=\u{201c}10\u{201d}\r\nFORMAT=\u{2018}text\u{2019}  \r",
            conf(Some(10), Some(Format::Text)),
        ),
    ] {
        assert_eq!(parse(text), Ok(wanted), "{text:?}");
    }
}

#[test]
fn a_wrong_line_is_refused_with_its_number_and_the_fix() {
    let not_whole = "is not a whole number of seconds";
    let fix = "set it to a number of seconds such as 30";
    let bounds = "is not between 1 and 86400 seconds";
    let data = "this file is data, and no shell reads it";
    let no_setting = "is not a setting; write KEY=value, such as INTERVAL=30";
    for (text, wanted) in [
        ("INTERVAL=0", format!("1: INTERVAL: \"0\" {bounds}; {fix}")),
        ("\n# x\nINTERVAL=-5", format!("3: INTERVAL: \"-5\" {bounds}; {fix}")),
        ("INTERVAL=86401", format!("1: INTERVAL: \"86401\" {bounds}; {fix}")),
        ("INTERVAL=99999999999999999999", format!("1: INTERVAL: \"99999999999999999999\" {bounds}; {fix}")),
        ("INTERVAL=10s", format!("1: INTERVAL: \"10s\" {not_whole}; {fix}")),
        ("INTERVAL=1.5", format!("1: INTERVAL: \"1.5\" {not_whole}; {fix}")),
        ("INTERVAL=+5", format!("1: INTERVAL: \"+5\" {not_whole}; {fix}")),
        ("INTERVAL=10#x", format!("1: INTERVAL: \"10#x\" {not_whole}; {fix}")),
        ("INTERVAL=$(reboot)", format!("1: INTERVAL: \"$(reboot)\" {not_whole}; {data}; {fix}")),
        ("INTERVAL=\"`id`\"", format!("1: INTERVAL: \"`id`\" {not_whole}; {data}; {fix}")),
        ("INTERVAL=10;reboot", format!("1: INTERVAL: \"10;reboot\" {not_whole}; {fix}")),
        (
            "INTERVAL=10 reboot",
            "1: \"reboot\" is behind the value; keep the value alone, or put # before a comment".to_owned(),
        ),
        (
            "INTERVAL='10'0",
            "1: \"0\" is behind the value; keep the value alone, or put # before a comment".to_owned(),
        ),
        ("INTERVAL=\"10", "1: a quote is opened and not closed".to_owned()),
        ("rm -rf /", format!("1: \"rm -rf /\" {no_setting}")),
        ("=10", format!("1: \"=10\" {no_setting}")),
        ("a b=10", format!("1: \"a b=10\" {no_setting}")),
        (
            "FORMAT=xml",
            "1: FORMAT: \"xml\" is not a format; set it to one of json, avocado, logfmt, text, journal"
                .to_owned(),
        ),
        ("INTERVALL=10", "1: INTERVALL is unknown; the keys are INTERVAL and FORMAT".to_owned()),
        ("PATH=/tmp", "1: PATH is unknown; the keys are INTERVAL and FORMAT".to_owned()),
        ("INTERVAL=10\n\nINTERVAL=20", "3: INTERVAL is set in line 1 already; keep one of them".to_owned()),
        ("INTERVAL=\u{1b}[2J", format!("1: INTERVAL: \"\\u{{1b}}[2J\" {not_whole}; {fix}")),
    ] {
        assert_eq!(said(text), [wanted], "{text:?}");
    }
}

#[test]
fn every_wrong_line_is_told_at_once() {
    let lines = said("INTERVAL=0\nFORMAT=json\nFOO=1\n");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("1: INTERVAL") && lines[1].starts_with("3: FOO"), "{lines:?}");
}

#[test]
fn only_the_default_file_may_be_absent_and_no_file_is_read_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartbeat.conf");
    let shown = path.display().to_string();
    let fails = || read(Some(&path)).unwrap_err();
    assert_eq!(fails(), format!("cannot read {shown}: No such file or directory (os error 2)"));
    std::fs::write(&path, "INTERVAL=5\nFORMAT=no\nINTERVAL=6\n").unwrap();
    let text = fails();
    let starts: Vec<bool> = text
        .lines()
        .zip([2, 3])
        .map(|(line, number)| line.starts_with(&format!("{shown}:{number}: ")))
        .collect();
    assert_eq!(starts, [true, true], "{text}");
    std::fs::write(&path, b"INTERVAL=5\r\n# \xfcber\r\n").unwrap();
    assert_eq!(fails(), format!("{shown}:2: the line is not UTF-8; save the file as UTF-8"));
    for utf_16 in [b"\xff\xfeI\0", b"\xfe\xff\0I"] {
        std::fs::write(&path, utf_16).unwrap();
        assert_eq!(fails(), format!("{shown} is UTF-16; save it as UTF-8"));
    }
    std::fs::write(&path, vec![b'\n'; 64 * 1024 + 1]).unwrap();
    assert!(fails().contains("longer than"), "{}", fails());
    assert!(read(Some(Path::new("/dev/zero"))).unwrap_err().contains("not a regular file"));
}

proptest! {
    #[test]
    fn whatever_the_file_holds_each_problem_is_one_line_of_bounded_length(text in "(?s).{0,200}") {
        if let Err(problems) = parse(&text) {
            for problem in problems {
                let line = problem.to_string();
                prop_assert!(!line.contains(char::is_control) && line.len() < 2000, "{line:?}");
            }
        }
    }

    #[test]
    fn an_interval_that_is_accepted_is_within_its_bounds(text in "INTERVAL=[-+0-9'\" #]{0,8}") {
        if let Ok(Conf { interval: Some(interval), .. }) = parse(&text) {
            prop_assert!(INTERVAL.contains(&interval.as_secs()));
        }
    }
}
