"""Folders of `transformers` as tasks of KerasHub: tables, one file a kind."""

from kgrow.hub.folders import bert, gemma, gpt2, llama
from kgrow.hub.folders.hub_table import hub_table_of, model_types

__all__ = ["bert", "gemma", "gpt2", "hub_table_of", "llama", "model_types"]
