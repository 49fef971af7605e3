#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nixfleet_fuzz::gpu_answer(data));
