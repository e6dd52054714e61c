"""Which action units make an expression: prototypes and their common variants."""

from __future__ import annotations

from fer_lightning.data.synthetic_faces.parameters import ActionUnits

# Combinations follow the table of emotion prototypes in Ekman, Friesen and Hager, "Facial Action Coding System:
# Investigator's Guide" (2002), and for contempt the one-sided AU12 + AU14.
PROTOTYPES: dict[str, tuple[ActionUnits, ...]] = {
    "angry": (
        ActionUnits(au4=1.0, au5=0.35, au7=0.6, au23=0.8, au24=0.7, au17=0.3),
        ActionUnits(au4=1.0, au5=0.5, au7=0.5, au10=0.6, au15=0.45, au17=0.2, au20=0.35, au23=0.4, au25=0.9, au26=0.2),
    ),
    "disgust": (
        ActionUnits(au4=0.35, au6=0.3, au7=0.5, au9=1.0, au10=0.75, au15=0.35, au17=0.4),
        ActionUnits(au4=0.35, au6=0.35, au7=0.5, au9=1.0, au10=1.0, au15=0.2, au25=0.6, au26=0.1),
    ),
    "fear": (
        ActionUnits(au1=1.0, au2=0.4, au4=0.6, au5=1.0, au7=0.1, au20=1.0, au25=0.7, au26=0.15),
        ActionUnits(au1=1.0, au2=0.5, au4=0.5, au5=0.9, au20=0.8, au25=0.8, au26=0.35),
    ),
    "happy": (
        ActionUnits(au6=0.8, au12=1.0, au25=0.8, au26=0.1),
        ActionUnits(au6=0.6, au12=1.0),
        ActionUnits(au6=1.0, au12=1.0, au25=1.0, au26=0.45),
    ),
    "sad": (
        ActionUnits(au1=1.0, au4=0.55, au15=1.0, au17=0.6, au43=0.3),
        ActionUnits(au1=0.9, au4=0.4, au15=0.9, au17=0.3, au43=0.4, au25=0.15),
    ),
    "surprise": (
        ActionUnits(au1=1.0, au2=1.0, au5=0.8, au25=0.8, au26=1.0),
        ActionUnits(au1=0.9, au2=1.0, au5=0.7, au25=0.6, au26=0.65),
    ),
    "neutral": (ActionUnits(),),
    "contempt": (
        ActionUnits(au12=0.75, au14=1.0, side=1.0),
        ActionUnits(au12=0.75, au14=1.0, side=-1.0),
    ),
}
