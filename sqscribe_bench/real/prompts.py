# SPDX-License-Identifier: Apache-2.0
"""What people write as a prompt or as hotwords."""

from __future__ import annotations

__all__ = ["FITTING", "HOTWORDS", "PROMPTS"]

#: Name to text: ordinary prompts in three languages; none of them has to do with what is said.
PROMPTS = {
    "en-show": "Hello, welcome to the show. Today we will talk about news.",
    "en-meeting": "This is a recording of a meeting. The speakers are Anna, Bob and Christopher.",
    "en-style": "Use proper punctuation, capital letters and complete sentences.",
    "en-medical": "Patient history, diagnosis, hypertension, ibuprofen, MRI scan, follow-up.",
    "en-dots": "So, um... yeah. Okay, let's get started, shall we?",
    "de-show": "Guten Tag und herzlich willkommen zu unserer Sendung. Heute sprechen wir über Nachrichten.",
    "de-meeting": "Protokoll der Sitzung vom Montag. Anwesend sind Frau Müller und Herr Schmidt.",
    "de-style": "Bitte mit Satzzeichen und in ganzen Sätzen schreiben.",
    "es-show": "Hola, bienvenidos al programa. Hoy vamos a hablar de las noticias.",
    "es-style": "Transcripción de una conversación telefónica con un cliente.",
}

#: Name to a list as it stands in a job: some heard in a recording, most of them not.
HOTWORDS = {
    "names": "Fisichella, Carpanedo, Kowloon, Sintra, Lord Byron",
    "products": "Kubernetes, PostgreSQL, CTranslate2, SaladCloud",
    "people": "Christopher Nolan, Angela Merkel, Emmanuel Macron, Pedro Sánchez, Lula da Silva",
    "one": "dinosaurs",
    "many": "insurance, deductible, premium, claim number, policy holder, adjuster, coverage, liability, collision, "
    "comprehensive, endorsement, exclusion, beneficiary, underwriter, actuary, reinsurance, subrogation, indemnity",
}

#: Language to a prompt that fits its recordings: names as they are spelled in them.
FITTING = {
    "en": "Sintra, Lord Byron, the Northern Marianas, Mr. Quilter, my fellow Americans.",
    "de": "Hongkong, Kowloon, Mekka, Das Vermächtnis der Tempelritter.",
    "fr": "Del Potro, l'accident, le Consulat, les eaux et forêts.",
    "es": "Carpanedo, los luchadores, Luna, las arenas.",
    "pt": "Giancarlo Fisichella, scaffolding, cédulas, raposa.",
}
