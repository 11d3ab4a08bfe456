"""What an index can look up: texts cut into chunks, embedded, indexed by words and by vectors, stored, found and fused.

Torch and FAISS are imported when a name from here is first used.
"""

from __future__ import annotations

from memcourse.lazy import lazy

_ROOMS = {
    "Chunk": "chunking", "by_characters": "chunking", "by_tokens": "chunking", "by_sentences": "chunking",
    "by_headings": "chunking", "sentences": "chunking", "BM25": "bm25", "words": "bm25", "bm25_by_hand": "bm25",
    "Hits": "fusion", "reciprocal_rank_fusion": "fusion", "VectorIndex": "index", "cosine_from_l2": "vectors",
    "Store": "store", "Added": "store", "Replaced": "store", "Version": "store", "View": "store_view",
    "Record": "store_rows", "Found": "store_rows", "content_id": "store_rows", "critical_n": "dimension",
    "critical_curves": "dimension", "free_vectors": "dimension", "solved": "dimension", "published_fit": "dimension",
    "on_a_curve": "dimension", "limit_set": "dimension", "limit_recall": "dimension", "mean_pool": "embedding",
    "unit": "embedding", "token_states": "embedding", "static_vectors": "embedding", "lm_vectors": "embedding",
    "TfIdf": "embedding", "random_pairs": "embedding", "centred": "embedding", "principal": "embedding",
    "wrong_group": "embedding", "info_nce": "contrastive", "Pair": "contrastive", "SearchTest": "contrastive",
    "people_pairs": "contrastive", "town_pairs": "contrastive", "fine_tune": "contrastive", "tuning": "contrastive",
    "ARMS": "contrastive", "secrets": "inversion", "Inverter": "inversion", "train_inverter": "inversion",
    "correct": "inversion", "compare": "inversion", "noisy": "inversion", "Attack": "inversion", "invert": "inversion",
    "brute_force": "frontier", "more_like": "frontier", "structure": "frontier", "measure": "frontier",
    "compare_indexes": "frontier", "Point": "frontier", "pareto": "frontier", "bytes_on_paper": "frontier",
    "kmeans_lists": "frontier", "ivf_by_hand": "frontier", "MemoryStore": "memory_store", "Retriever": "retriever",
    "Ranked": "retriever", "Assembled": "assembly", "assemble": "assembly", "Citation": "citations", "cite": "citations",
    "RAG": "rag", "Answer": "rag", "chunked": "rag_studies", "texts_of": "rag_studies", "ranking_scores": "rag_studies",
    "compare_sources": "rag_studies", "whole_corpus": "rag_studies", "compare_k": "rag_studies",
    "compare_searches": "rag_studies", "swap_editions": "rag_studies", "starve": "rag_studies",
    "poison_study": "rag_studies", "Again": "rounds", "documents_of": "rag_measures", "gold_passages": "rag_measures",
    "gold_sentences": "rag_measures", "ranked_passages": "rag_measures", "evidence": "rag_measures",
    "complete_within": "rag_measures", "verdict": "rag_measures", "judged": "rag_measures",
    "solved_examples": "rag_measures", "read_everything": "rag_measures", "VERDICTS": "rag_measures", "planted": "poison",
    "obeyed": "poison", "speaks_to_reader": "poison", "Sieve": "poison", "FORMS": "poison", "question_logprobs": "rerank",
    "Reranked": "rerank", "mmr": "rerank", "Diverse": "rerank", "risk_coverage": "abstention",
    "area_under_risk_coverage": "abstention", "threshold_for": "abstention",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
