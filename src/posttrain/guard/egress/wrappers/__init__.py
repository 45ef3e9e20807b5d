"""The gateway where requests are already made: HTTP clients, tools of a model, AgentDojo, a reader without rights."""
