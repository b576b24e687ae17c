"""Figures for the chapters and, later, reports."""
