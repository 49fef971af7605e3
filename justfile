# N simulated runs of the agent, each with another seed.
sim N="1000" *OPTIONS:
    cargo xtask sim {{N}} {{OPTIONS}}
