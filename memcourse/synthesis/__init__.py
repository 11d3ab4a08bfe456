"""Synthetic data: rewrites, question-answer pairs, dialogues and images, and the filters that decide what is kept.

Torch is imported when a name from here is first used.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS = {
    "FactRow": "fact_table", "FactTable": "fact_table", "KnownValues": "fact_table", "phrases": "fact_table",
    "Text": "rewrites", "rewrite_texts": "rewrites", "pair_texts": "rewrites", "question_answers": "rewrites",
    "reversed_statements": "rewrites", "possible_rewrites": "rewrites", "equal_budget": "rewrites", "samples": "rewrites",
    "Pair": "replies", "parse_sentence": "replies", "parse_json_reply": "replies",
    "Statement": "writer", "statements_of": "writer", "wording_requests": "writer", "pair_requests": "writer",
    "passage_requests": "writer", "faithful_to": "writer", "grounded": "writer", "model_writer": "writer",
    "write": "writer", "usable_shares": "writer",
    "added_bits": "novelty", "distinct_n": "diversity", "self_bleu": "diversity", "compression_ratio": "diversity",
    "shingles": "duplicates", "jaccard": "duplicates", "minhash": "duplicates", "estimated_jaccard": "duplicates",
    "found_probability": "duplicates", "banding": "duplicates", "candidate_pairs": "duplicates",
    "without_near_duplicates": "duplicates",
    "overlapping": "quality", "refuse_leaks": "quality", "unfaithful": "quality",
    "filtered": "filters", "each": "filters", "no_near_duplicates": "filters", "no_leaks": "filters",
    "asked_of": "lessons", "fact_rows": "lessons", "mixtures": "lessons", "lessons_learned": "lessons",
    "long_tail": "collapse", "model_collapse": "collapse",
    "Dialogue": "dialogues", "fact_questions": "dialogues", "support_dialogues": "dialogues",
    "identity_dialogues": "dialogues", "dialogue_samples": "dialogues", "dialogue_rows": "dialogues",
    "harbour_desk": "chatbot_study", "chatbot": "chatbot_study", "multi_turn_prompts": "chatbot_study",
    "multi_turn_accuracy": "chatbot_study", "says_who": "chatbot_study",
    "Digits": "digits", "real_digits": "digits", "rendered_digits": "digits",
    "small_network": "images", "domain_gap": "images", "synthetic_scaling": "images",
    "told_apart": "realism", "text_told_apart": "realism",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
