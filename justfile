# N simulated runs of the agent, each with another seed.
sim N="1000" *OPTIONS:
    cargo xtask sim {{N}} {{OPTIONS}}

# A million heartbeats, a thousand connections, a day of timers: does the agent grow or drift?
soak *OPTIONS:
    cargo xtask soak {{OPTIONS}}

# Every figure of docs/performance.md: `just bench --short`, `just bench idle start`, `just bench --other PATH`.
bench *OPTIONS:
    cargo build --release --locked -p nixfleet-agent
    cargo bench --locked --bench heartbeat -- --agent target/release/nixfleet-agent {{OPTIONS}}
