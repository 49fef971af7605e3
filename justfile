# N simulated runs of the agent, each with another seed.
sim N="1000" *OPTIONS:
    cargo xtask sim {{N}} {{OPTIONS}}

# A million heartbeats, a thousand connections, a day of timers: does the agent grow or drift?
soak *OPTIONS:
    cargo xtask soak {{OPTIONS}}
